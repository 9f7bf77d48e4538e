use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::{Form, Output, Provenance, Record, Unreadable};
use crate::{Digest, DigestKind, Key};

fn sample() -> Record {
    let file = Digest::of_bytes(b"file");
    let tree = Digest::new(DigestKind::Tree, [7; 32]);
    let output = |port: &str, form, digest, blob| Output {
        port: port.to_owned(),
        media: "retmask/mask;v1".to_owned(),
        form,
        digest,
        blob,
        size: 4,
    };
    Record {
        key: Key::new([0xab; 32]),
        outputs: vec![
            output("scores", Form::File, Digest::new(DigestKind::Logical, [3; 32]), file),
            output("page", Form::File, file, file),
            output("checkpoint", Form::Tree, tree, Digest::of_bytes(b"manifest")),
        ],
        provenance: Provenance {
            kind: "build-mask".to_owned(),
            epoch: 2,
            fields: json!({"params": {"tau": 0.1, "seed": u64::MAX}, "list": [1, "1", null]}),
            created_milliseconds: 1_800_000_000_000,
            duration_milliseconds: 12,
            tools: BTreeMap::from([("retmask".to_owned(), "0.1.0".to_owned())]),
            private: false,
            rows: Vec::new(),
        },
    }
}

fn bytes_of(record: &Record) -> Vec<u8> {
    record.to_bytes().expect("a sound record").0
}

proptest! {
    #[test]
    fn a_record_reads_back_as_itself(
        ports in prop::collection::btree_set(".{0,8}", 0..4), media in ".{0,12}", size in any::<u64>(),
        number in any::<f64>().prop_filter("JSON has no infinities", |number| number.is_finite()),
        times in any::<(u64, u64)>(), text in ".{0,20}",
    ) {
        let mut record = sample();
        let output = record.outputs[0].clone();
        record.outputs =
            ports.into_iter().map(|port| Output { port, media: media.clone(), size, ..output.clone() }).collect();
        record.provenance.fields = json!({ text.clone(): number, "more": [text] });
        (record.provenance.created_milliseconds, record.provenance.duration_milliseconds) = times;
        let (bytes, digest) = record.to_bytes().expect("a sound record");
        prop_assert_eq!(Record::from_bytes(&bytes), Ok((record, digest)));
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let bytes = bytes_of(&sample());
    for bit in 0..8 * bytes.len() {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Record::from_bytes(&flipped).is_err(), "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(Record::from_bytes(&bytes[..length]).is_err(), "cut at {length}");
    }
}

#[test]
fn another_version_is_told_from_damage() {
    let text = String::from_utf8(bytes_of(&sample())).expect("text");
    let newer = text.replacen("retmask-record 1 ", "retmask-record 2 ", 1);
    assert_eq!(Record::from_bytes(newer.as_bytes()), Err(Unreadable::Version("2".to_owned())));
    assert!(matches!(Record::from_bytes(b"retmask-record 1 b3:00\n{}\n"), Err(Unreadable::Damaged(_))));
    assert!(matches!(Record::from_bytes(b"no header"), Err(Unreadable::Damaged(_))));
    assert!(matches!(Record::from_bytes(b"\n\n"), Err(Unreadable::Damaged(_))));
}

#[test]
fn a_body_with_a_right_digest_must_still_be_a_record() {
    let (bytes, _) = sample().to_bytes().expect("a sound record");
    let end = bytes.iter().position(|&byte| byte == b'\n').expect("a line") + 1;
    let body = String::from_utf8(bytes[end..].to_vec()).expect("text");
    let with_digest = |body: String| {
        let mut bytes = super::header(&Digest::of_bytes(body.as_bytes())).into_bytes();
        bytes.extend_from_slice(body.as_bytes());
        Record::from_bytes(&bytes)
    };
    assert!(with_digest(body.clone()).is_ok());
    let changes = [
        ("\"epoch\"", "\"epoche\""),
        ("\"kind\": ", "\"surplus\": 1, \"kind\": "),
        ("l3:", "t3:"),
        ("l3:", "x3:"),
        ("\"page\"", "\"scores\""),
        ("abab", "ABAB"),
    ];
    for (from, to) in changes {
        assert!(body.contains(from), "{from}");
        let changed = with_digest(body.replacen(from, to, 1));
        assert!(matches!(changed, Err(Unreadable::Damaged(_))), "{from} -> {to}: {changed:?}");
    }
}

#[test]
fn outputs_that_contradict_themselves_are_refused() {
    let changes: [fn(&mut Record); 5] = [
        |record| record.outputs[1].digest = Digest::of_bytes(b"other"),
        |record| record.outputs[1].blob = Digest::new(DigestKind::Tree, [0; 32]),
        |record| record.outputs[2].digest = Digest::of_bytes(b"other"),
        |record| record.outputs[0].form = Form::Tree,
        |record| record.outputs[1].port = "checkpoint".to_owned(),
    ];
    for change in changes {
        let mut record = sample();
        change(&mut record);
        assert!(record.to_bytes().is_err());
    }
}
