use super::{Access, Remote};
use crate::Fault;

#[test]
fn addresses_are_understood_or_refused_with_the_reason() {
    let folder = tempfile::tempdir().expect("folder");
    let address = format!("file://{}", folder.path().join("new").display());
    let missing = Remote::open(&address, Access::ReadOnly).expect_err("no folder");
    assert_eq!((missing.fault, missing.message.contains("is not a folder")), (Fault::Environment, true));
    assert_eq!(Remote::open(&address, Access::ReadWrite).expect("made").address(), address);
    Remote::open(&address, Access::ReadOnly).expect("there now");
    let refused = [
        ("/mnt/shared", "is not an address"),
        ("file://relative", "names no absolute folder"),
        ("s3://", "names no bucket"),
        ("s3://key:secret@bucket/x", "credentials belong in the environment"),
        ("https://example.org", "is of a kind that is not known"),
        ("", "is not an address"),
    ];
    for (address, why) in refused {
        let error = Remote::open(address, Access::ReadWrite).expect_err(address);
        assert_eq!(error.fault, Fault::Input);
        assert!(error.message.contains(why), "{address}: {}", error.message);
        assert!(error.hint.is_some_and(|hint| hint.contains("s3://BUCKET")));
    }
}
