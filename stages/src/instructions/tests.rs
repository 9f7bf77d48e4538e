use std::fs;
use std::io::Write as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, ListBuilder, RecordBatch, StringArray, StringBuilder, StructBuilder};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use tempfile::TempDir;

use super::*;

fn file(bytes: &[u8]) -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("instructions");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn read_bytes(bytes: &[u8]) -> StageResult<Instructions> {
    let (_folder, path) = file(bytes);
    read(&path, Format::Auto, "English", || Ok(()))
}

fn fault(bytes: &[u8]) -> String {
    read_bytes(bytes).unwrap_err().message
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

const LMSYS: &str = r#"
{"conversation_id": "a", "conversation": [{"role": "user", "content": "First?"}, {"role": "assistant", "content": "x"}], "language": "English", "redacted": false}
{"conversation_id": "b", "conversation": [{"role": "user", "content": "Hidden"}], "redacted": true}
{"conversation_id": "c", "conversation": [{"role": "user", "content": "Quoi ?"}], "language": "French"}

{"conversation_id": "d", "conversation": [{"role": "system", "content": "s"}, {"role": "user", "content": "Second?"}, {"role": "user", "content": "no"}]}
{"conversation_id": "e", "conversation": [{"role": "user", "content": "First?"}]}
{"conversation_id": "f", "conversation": [{"role": "assistant", "content": "x"}]}
{"conversation_id": "g", "conversation": [{"role": "user", "content": " \n"}]}
"#;

#[test]
fn lmsys_records_give_their_first_user_turns() {
    let found = read_bytes(LMSYS.as_bytes()).unwrap();
    assert_eq!(found.prompts, ["First?", "Second?"]);
    assert_eq!(found.records, 7);
    assert_eq!(found.skipped, Skipped { redacted: 1, other_language: 1, empty: 2, duplicates: 1 });
    assert_eq!(read_bytes(&gzip(LMSYS.as_bytes())).unwrap(), found);
    // gzip files may be joined.
    let (head, tail) = LMSYS.split_at(400);
    assert_eq!(read_bytes(&[gzip(head.as_bytes()), gzip(tail.as_bytes())].concat()).unwrap(), found);

    let (_folder, path) = file(LMSYS.as_bytes());
    let all = read(&path, Format::Lmsys, "", || Ok(())).unwrap();
    assert_eq!(all.prompts, ["First?", "Quoi ?", "Second?"]);
}

#[test]
fn plain_styles_are_told_by_their_fields() {
    let prompts = |text: &str| read_bytes(text.as_bytes()).unwrap().prompts;
    let tasks = r#"{"id": 1, "instruction": "Shorten.", "instances": [{"input": "A long text", "output": "x"}]}
{"instruction": "Tell a joke.", "instances": [{"input": "", "output": "x"}], "extra": [1, 2]}
{"instruction": "Translate.", "input": "Bonjour"}
{"instruction": "Sing.", "instances": []}"#;
    assert_eq!(prompts(tasks), ["Shorten.\n\nA long text", "Tell a joke.", "Translate.\n\nBonjour", "Sing."]);
    assert_eq!(prompts("\u{feff}{\"prompt\": \"p\"}\r\n{\"prompt\": \"q\"}\r\n"), ["p", "q"]);
    assert_eq!(prompts(r#"{"messages": [{"role": "user", "content": "m"}]}"#), ["m"]);
}

#[test]
fn faults_name_the_line_and_the_field() {
    assert!(fault(b"").contains("holds no record"));
    assert!(fault(b"\n \n").contains("holds no record"));
    assert!(fault(&gzip(b"")).contains("holds no record"));
    assert!(fault(b"{\"prompt\": \"p\"}\n\n{\"prompt\": \"q\"").contains("line 3: not JSON"));
    assert!(fault(b"{\"prompt\": \"p\"}\n[1]").contains("line 2: the record is a list; expected an object"));
    assert!(fault(b"{\"prompt\": 5}").contains("line 1: `prompt` is a number; expected a text"));
    assert!(fault(b"{\"prompt\": \"p\"}\n{\"instruction\": \"i\"}").contains("line 2: `prompt` is missing"));
    assert!(fault(b"{\"text\": \"p\"}").contains("the fields text; expected `conversation`"));
    assert!(fault(b"{\"conversation\": [{\"role\": \"user\"}]}").contains("`conversation[0]`: `content` is missing"));
    assert!(fault(b"{\"instruction\": \"i\", \"instances\": [3]}").contains("`instances[0]` is a number"));
    assert!(fault(b"{\"prompt\": \"p\", \"redacted\": \"no\"}").contains("`redacted` is a text"));
    assert!(fault(b"{\"prompt\": \" \"}").contains("none of its 1 records gives an instruction"));
    assert!(fault(b"{\"prompt\": \"\xff\"}").contains("line 1: not UTF-8"));
    let long = [b"{\"prompt\": \"".as_slice(), &vec![b'x'; 17 << 20], b"\"}"].concat();
    assert!(fault(&long).contains("line 1: the line is longer than 16 MiB"));
    let packed = gzip(LMSYS.as_bytes());
    assert!(fault(&packed[..packed.len() / 2]).contains("the compressed data is damaged"));
    assert!(fault(b"PAR1 and nothing else").contains("is not a Parquet table"));
}

fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn parquet_rows_read_like_lines() {
    let turn =
        Fields::from(vec![Field::new("content", DataType::Utf8, true), Field::new("role", DataType::Utf8, true)]);
    let mut conversations = ListBuilder::new(StructBuilder::from_fields(turn, 0));
    for content in ["First?", "Second?", "First?", "Hidden"] {
        let turns = conversations.values();
        turns.field_builder::<StringBuilder>(0).unwrap().append_value(content);
        turns.field_builder::<StringBuilder>(1).unwrap().append_value("user");
        turns.append(true);
        conversations.append(true);
    }
    let redacted = BooleanArray::from(vec![Some(false), None, Some(false), Some(true)]);
    let bytes = parquet(vec![
        ("conversation", Arc::new(conversations.finish()) as ArrayRef),
        ("redacted", Arc::new(redacted)),
        ("other", Arc::new(StringArray::from(vec!["x"; 4]))),
    ]);
    let found = read_bytes(&bytes).unwrap();
    assert_eq!(found.prompts, ["First?", "Second?"]);
    assert_eq!(found.skipped, Skipped { redacted: 1, duplicates: 1, ..Skipped::default() });

    let prompts = StringArray::from(vec![Some("p"), None]);
    assert!(fault(&parquet(vec![("prompt", Arc::new(prompts))])).contains("row 2: `prompt` is null"));
    let other = StringArray::from(vec!["x"]);
    assert!(fault(&parquet(vec![("text", Arc::new(other))])).contains("has the columns text"));
    let empty = RecordBatch::new_empty(Arc::new(Schema::new(vec![Field::new("prompt", DataType::Utf8, true)])));
    assert!(fault(&parquet(vec![("prompt", empty.column(0).clone())])).contains("holds no record"));
}
