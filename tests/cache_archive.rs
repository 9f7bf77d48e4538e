//! `retmask cache export` and `import`: results carried to a machine that computed nothing.

mod support;

use support::model_free;
use support::workspace::stages_with;

#[test]
fn what_is_exported_is_a_hit_where_it_is_imported() {
    let (here, there) = (model_free::workspace(), model_free::workspace());
    here.succeeds(&["run", "pipeline.yaml"]);
    let archive = here.path("results.retmask").display().to_string();
    let told = here.succeeds(&["cache", "export", "latest", "-o", &archive]).out;
    assert!(told.contains("3 results with"), "{told}");
    let run = here.latest_run().file_name().expect("a name").to_string_lossy().into_owned();
    let told = there.succeeds(&["cache", "import", &archive]).out;
    assert_eq!(told, format!("3 new results, 0 known\nrun {run}\n"));
    // The run itself can be looked at, and its pipeline computes nothing here.
    assert_eq!(there.digests(), here.digests());
    assert_eq!(there.succeeds(&["show", "mask", "--json"]).out, here.succeeds(&["show", "mask", "--json"]).out);
    let events = there.events(&["run", "pipeline.yaml"]);
    assert_eq!(stages_with(&events, "stage-started"), Vec::<String>::new());
    assert_eq!(stages_with(&events, "stage-hit"), ["data", "mask", "random"]);
    there.succeeds(&["cache", "verify"]);
    let told = there.succeeds(&["cache", "import", &archive]).out;
    assert_eq!(told, format!("0 new results, 3 known\nrun {run} was here before\n"));
}

#[test]
fn one_stage_can_be_carried_and_files_are_not_written_over() {
    let (here, there) = (model_free::workspace(), model_free::workspace());
    here.succeeds(&["run", "pipeline.yaml"]);
    let archive = here.path("mask.retmask").display().to_string();
    here.succeeds(&["cache", "export", "mask", "-o", &archive]);
    let taken = here.run(&["cache", "export", "mask", "-o", &archive]);
    assert_eq!((taken.code, taken.err.contains("exists already")), (Some(2), true), "{}", taken.err);
    here.succeeds(&["cache", "export", "mask", "-o", &archive, "--overwrite"]);
    there.succeeds(&["cache", "import", &archive]);
    assert_eq!(stages_with(&there.events(&["run", "pipeline.yaml"]), "stage-started"), ["data", "random"]);
    let unknown = here.run(&["cache", "export", "maks", "-o", "elsewhere"]);
    assert_eq!((unknown.code, unknown.err.contains("has no stage `maks`")), (Some(2), true), "{}", unknown.err);
}

#[test]
fn an_archive_that_is_not_whole_is_refused_whole() {
    let (here, there) = (model_free::workspace(), model_free::workspace());
    here.succeeds(&["run", "pipeline.yaml"]);
    let archive = here.path("results.retmask");
    here.succeeds(&["cache", "export", "latest", "-o", &archive.display().to_string()]);
    let bytes = std::fs::read(&archive).expect("the archive");
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    for hostile in [&bytes[..bytes.len() - 40], &flipped] {
        std::fs::write(there.path("hostile"), hostile).expect("written");
        let refused = there.run(&["cache", "import", "hostile"]);
        assert_eq!(refused.code, Some(2), "{}", refused.err);
        assert!(refused.err.contains("is not a sound archive: at byte"), "{}", refused.err);
        let left = ["cas", "ac", "runs", "tmp", "quarantine"].map(|folder| there.files_in(folder));
        assert_eq!(left, [0; 5], "nothing of it is taken in");
    }
}
