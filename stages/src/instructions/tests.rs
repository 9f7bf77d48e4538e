use std::fs;
use std::io::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Int64Array, ListArray, ListBuilder, RecordBatch, StringArray, StringBuilder,
    StructArray, StructBuilder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use serde_json::json;
use tempfile::TempDir;

use super::*;

fn file(bytes: &[u8]) -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("instructions");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn english() -> Selection<'static> {
    Selection { language: "English", ..Selection::default() }
}

fn read_bytes_as(bytes: &[u8], selection: &Selection) -> StageResult<Instructions> {
    let (_folder, path) = file(bytes);
    read(&path, selection, || Ok(()))
}

fn read_bytes(bytes: &[u8]) -> StageResult<Instructions> {
    read_bytes_as(bytes, &english())
}

/// Turns as `role: content`, but for the role of a lone user turn.
fn spelt(found: &Instructions) -> Vec<String> {
    let turn = |turn: &ChatMessage| format!("{}: {}", turn.role, turn.content);
    let prompt = |turns: &Vec<ChatMessage>| match turns.as_slice() {
        [only] if only.role == "user" => only.content.clone(),
        turns => turns.iter().map(turn).collect::<Vec<_>>().join(" | "),
    };
    found.prompts.iter().map(prompt).collect()
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
    assert_eq!(spelt(&found), ["First?", "Second?"]);
    assert_eq!(found.records, 7);
    assert_eq!(
        found.skipped,
        Skipped { redacted: 1, other_language: 1, empty: 2, duplicates: 1, ..Skipped::default() }
    );
    assert_eq!(read_bytes(&gzip(LMSYS.as_bytes())).unwrap(), found);
    // gzip files may be joined.
    let (head, tail) = LMSYS.split_at(400);
    assert_eq!(read_bytes(&[gzip(head.as_bytes()), gzip(tail.as_bytes())].concat()).unwrap(), found);

    let selection = Selection { format: Format::Lmsys, ..Selection::default() };
    let all = read_bytes_as(LMSYS.as_bytes(), &selection).unwrap();
    assert_eq!(spelt(&all), ["First?", "Quoi ?", "Second?"]);
}

#[test]
fn plain_styles_are_told_by_their_fields() {
    let prompts = |text: &str| spelt(&read_bytes(text.as_bytes()).unwrap());
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
    assert_eq!(spelt(&found), ["First?", "Second?"]);
    assert_eq!(found.skipped, Skipped { redacted: 1, duplicates: 1, ..Skipped::default() });

    let prompts = StringArray::from(vec![Some("p"), None]);
    assert!(fault(&parquet(vec![("prompt", Arc::new(prompts))])).contains("row 2: `prompt` is null"));
    let other = StringArray::from(vec!["x"]);
    assert!(fault(&parquet(vec![("text", Arc::new(other))])).contains("has the columns text"));
    let empty = RecordBatch::new_empty(Arc::new(Schema::new(vec![Field::new("prompt", DataType::Utf8, true)])));
    assert!(fault(&parquet(vec![("prompt", empty.column(0).clone())])).contains("holds no record"));
}

#[test]
fn every_style_is_detected_and_gives_first_turns_or_histories() {
    let wildchat = r#"{"conversation_hash": "h", "model": "gpt-4", "turn": 2, "redacted": false, "language": "English", "conversation": [{"content": "Hi", "role": "user", "language": "English", "redacted": false, "toxic": false}, {"content": "Hello.", "role": "assistant", "redacted": false}, {"content": "More", "role": "user", "redacted": false}, {"content": "Yes.", "role": "assistant", "redacted": false}]}"#;
    let sharegpt = r#"{"id": "s", "conversations": [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}, {"from": "human", "value": "More"}, {"from": "gpt", "value": "Yes."}]}"#;
    let openai = r#"{"messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]}, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "More"}]}"#;
    let guru = r#"{"data_source": "math", "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}], "ability": "math", "reward_model": {"ground_truth": "4"}}"#;
    let full = Selection { history: History::Full, ..english() };
    let history = "user: Hi | assistant: Hello. | user: More";
    for (text, expected, format) in [
        (wildchat, history.to_owned(), Format::Wildchat),
        (sharegpt, format!("system: Be brief. | {history}"), Format::Sharegpt),
        (openai, format!("system: Be brief. | {history}"), Format::Messages),
        (guru, "system: Be brief. | user: Hi".to_owned(), Format::Guru),
    ] {
        assert_eq!(spelt(&read_bytes(text.as_bytes()).unwrap()), ["Hi"], "{format:?}");
        assert_eq!(spelt(&read_bytes_as(text.as_bytes(), &full).unwrap()), [expected], "{format:?}");
        // Declared, and declared wrongly.
        let declared = |format| read_bytes_as(text.as_bytes(), &Selection { format, ..english() });
        assert_eq!(spelt(&declared(format).unwrap()), ["Hi"], "{format:?}");
        let other = if format == Format::Sharegpt { Format::Messages } else { Format::Sharegpt };
        assert!(declared(other).unwrap_err().message.contains("is missing"), "{format:?}");
    }
}

#[test]
fn turns_of_wildchat_say_what_its_records_do_not() {
    let record = |turn: &str| {
        format!(r#"{{"conversation_hash": "h", "conversation": [{{"role": "user", "content": "Hi"{turn}}}]}}"#)
    };
    let of = |turn: &str| {
        read_bytes(
            format!(
                "{}\n{}",
                record(turn),
                r#"{"conversation_hash": "i", "conversation": [{"role": "user", "content": "Other"}]}"#
            )
            .as_bytes(),
        )
        .unwrap()
    };
    assert_eq!(of(r#", "redacted": true"#).skipped, Skipped { redacted: 1, ..Skipped::default() });
    assert_eq!(of(r#", "language": "French""#).skipped, Skipped { other_language: 1, ..Skipped::default() });
    assert_eq!(of(r#", "language": "English", "redacted": false"#).skipped, Skipped::default());
    let broken = record(r#", "redacted": 1"#);
    assert!(fault(broken.as_bytes()).contains("`conversation[0]`: `redacted` is a number"));
}

#[test]
fn lengths_are_of_all_turns_in_characters() {
    let text = "{\"prompt\": \"four\"}\n{\"prompt\": \"üü\"}\n{\"prompt\": \"seven77\"}\n";
    let of = |min_characters, max_characters| {
        let found = read_bytes_as(text.as_bytes(), &Selection { min_characters, max_characters, ..english() }).unwrap();
        (spelt(&found).len(), found.skipped.too_short, found.skipped.too_long)
    };
    assert_eq!(of(0, None), (3, 0, 0));
    assert_eq!(of(3, None), (2, 1, 0));
    assert_eq!(of(2, Some(4)), (2, 0, 1));
    assert_eq!(of(3, Some(4)), (1, 1, 1));
}

#[test]
fn as_many_rows_may_be_malformed_as_are_allowed() {
    let text = b"{\"prompt\": \"p\"}\n{\"prompt\"\n{\"prompt\": 3}\n\xff\n{\"prompt\": \"q\"}\n";
    let with = |max_bad_rows| read_bytes_as(text, &Selection { max_bad_rows, ..english() });
    let found = with(3).unwrap();
    assert_eq!((spelt(&found), found.records, found.bad.count), (vec!["p".to_owned(), "q".to_owned()], 5, 3));
    for (told, expected) in
        found.bad.told.iter().zip(["line 2: not JSON", "line 3: `prompt` is a number", "line 4: not UTF-8"])
    {
        assert!(told.contains(expected), "{told}");
    }
    let error = with(2).unwrap_err();
    assert!(error.message.contains("line 4: not UTF-8"), "{error}");
    assert_eq!(error.hint.as_deref(), Some("it is malformed row 3; `max-bad-rows` allows 2"));
    assert!(with(0).unwrap_err().message.contains("line 2: not JSON"));
    // The first row may be one of them, and what no reader can pass over is none of them.
    let first = Selection { max_bad_rows: 1, ..english() };
    assert_eq!(spelt(&read_bytes_as(b"[]\n{\"prompt\": \"p\"}", &first).unwrap()), ["p"]);
    let packed = gzip(LMSYS.as_bytes());
    let cut = read_bytes_as(&packed[..packed.len() / 2], &Selection { max_bad_rows: 100, ..english() });
    assert!(cut.unwrap_err().message.contains("the compressed data is damaged"));
}

#[test]
fn a_turn_that_cannot_be_read_is_named() {
    let full = Selection { history: History::Full, ..english() };
    let fault = |text: &str| read_bytes_as(text.as_bytes(), &full).unwrap_err().message;
    let image = r#"{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}"#;
    assert!(fault(image).contains("`messages[0]`: `content`: a part is of type `image_url`; only texts are read"));
    let tool = r#"{"messages": [{"role": "tool", "content": "x"}, {"role": "user", "content": "y"}]}"#;
    assert!(fault(tool).contains("`messages[0]`: the role `tool` is none of"));
    let null = r#"{"messages": [{"role": "user", "content": null}]}"#;
    assert!(fault(null).contains("`messages[0]`: `content` is null; expected a text"));
}

/// Values of one JSON type as a column; what is missing is null.
fn column(values: &[&Value]) -> ArrayRef {
    let given = || values.iter().copied().filter(|value| !value.is_null());
    let valid: Vec<bool> = values.iter().map(|value| !value.is_null()).collect();
    match given().next() {
        Some(Value::Bool(_)) => Arc::new(BooleanArray::from_iter(values.iter().map(|value| value.as_bool()))),
        Some(Value::Number(_)) => Arc::new(Int64Array::from_iter(values.iter().map(|value| value.as_i64()))),
        Some(Value::Array(_)) => {
            let lists = || values.iter().map(|value| value.as_array().map_or(&[][..], Vec::as_slice));
            let items = column(&lists().flatten().collect::<Vec<_>>());
            let field = Arc::new(Field::new("item", items.data_type().clone(), true));
            let offsets = OffsetBuffer::from_lengths(lists().map(<[Value]>::len));
            Arc::new(ListArray::new(field, offsets, items, Some(valid.into())))
        }
        Some(Value::Object(_)) => {
            let names: std::collections::BTreeSet<&String> =
                given().flat_map(|value| value.as_object().unwrap().keys()).collect();
            let columns: Vec<(Arc<Field>, ArrayRef)> = names
                .into_iter()
                .map(|name| {
                    let column = column(&values.iter().map(|value| &value[name.as_str()]).collect::<Vec<_>>());
                    (Arc::new(Field::new(name, column.data_type().clone(), true)), column)
                })
                .collect();
            let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
            Arc::new(StructArray::new(fields.into(), columns, Some(valid.into())))
        }
        _ => Arc::new(StringArray::from_iter(values.iter().map(|value| value.as_str()))),
    }
}

/// Records in the style of every data set, with the fields that these have besides: two prompts and a copy of the
/// first.
fn every_data_set() -> Vec<(&'static str, Format, Vec<Value>)> {
    let said = |text: &str| json!([{"role": "user", "content": text}, {"role": "assistant", "content": "Sure."}]);
    let lmsys = |id: &str, text: &str| {
        json!({"conversation_id": id, "model": "vicuna-13b", "conversation": said(text), "turn": 1, "language": "English",
            "openai_moderation": [{"flagged": false, "categories": {"hate": false}}], "redacted": false})
    };
    let synth = |id: &str, text: &str| json!({"conversation_id": id, "conversation": said(text), "synthesized_request": text, "answers": ["Sure."]});
    let wildchat = |hash: &str, text: &str| {
        let turn = |role: &str, text: &str| {
            json!({"content": text, "country": "Malta", "hashed_ip": null, "header": {"user-agent": "x"}, "language": "English",
                "redacted": false, "role": role, "toxic": false, "turn_identifier": 3})
        };
        json!({"conversation_hash": hash, "model": "gpt-4", "timestamp": 17, "turn": 1, "language": "English",
            "redacted": false, "toxic": false, "conversation": [turn("user", text), turn("assistant", "Sure.")]})
    };
    let guru = |source: &str, text: &str| {
        json!({"data_source": source, "prompt": [{"role": "user", "content": text}], "ability": "math",
            "reward_model": {"ground_truth": "4", "style": "rule"}, "extra_info": {"index": 4}})
    };
    let alpaca =
        |input: &str, text: &str| json!({"instruction": text, "input": input, "output": "Sure.", "text": "all"});
    let sharegpt = |id: &str, text: &str| json!({"id": id, "conversations": [{"from": "human", "value": text}, {"from": "gpt", "value": "Sure."}]});
    let openai = |name: &str, text: &str| json!({"messages": said(text), "tools": name});
    let records = |of: &dyn Fn(&str, &str) -> Value, marks: [&str; 3]| {
        vec![of(marks[0], "First?"), of(marks[1], "Second?"), of(marks[2], "First?")]
    };
    let ids = ["a", "b", "c"];
    vec![
        ("LMSYS-Chat-1M", Format::Lmsys, records(&lmsys, ids)),
        ("LMSYS-Chat-1M-Synth", Format::Lmsys, records(&synth, ids)),
        ("WildChat", Format::Wildchat, records(&wildchat, ids)),
        ("Guru", Format::Guru, records(&guru, ids)),
        ("Alpaca", Format::Instruction, records(&alpaca, ["", " ", ""])),
        ("ShareGPT", Format::Sharegpt, records(&sharegpt, ids)),
        ("OpenAI messages", Format::Messages, records(&openai, ids)),
    ]
}

#[test]
fn every_data_set_reads_alike_as_lines_gzip_and_parquet_detected_or_declared() {
    for (name, format, records) in every_data_set() {
        let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
        let names: Vec<&String> = records[0].as_object().unwrap().keys().collect();
        let columns = names.iter().map(|name| {
            let values: Vec<&Value> = records.iter().map(|record| &record[name.as_str()]).collect();
            (name.as_str(), column(&values))
        });
        let table = parquet(columns.collect());
        for bytes in [lines.as_bytes(), &gzip(lines.as_bytes()), &table] {
            for format in [Format::Auto, format] {
                let found = read_bytes_as(bytes, &Selection { format, ..english() }).unwrap();
                assert_eq!(spelt(&found), ["First?", "Second?"], "{name}");
                assert_eq!(found.skipped, Skipped { duplicates: 1, ..Skipped::default() }, "{name}");
                let full = Selection { format, history: History::Full, ..english() };
                assert_eq!(read_bytes_as(bytes, &full).unwrap().prompts, found.prompts, "{name}");
            }
        }
        // A row that is malformed is named by its line, and by its row.
        let place = field_of(format);
        let mut broken = records.clone();
        broken[1][place] = json!(null);
        let lines: String = broken.iter().map(|record| format!("{record}\n")).collect();
        assert!(
            fault(lines.as_bytes()).contains(&format!("line 2: `{place}` is null")),
            "{name}: {}",
            fault(lines.as_bytes())
        );
        let found = read_bytes_as(lines.as_bytes(), &Selection { max_bad_rows: 1, ..english() }).unwrap();
        assert_eq!((found.bad.count, spelt(&found)), (1, vec!["First?".to_owned()]), "{name}");
    }
}

/// The field of a style that holds what is asked.
fn field_of(format: Format) -> &'static str {
    match format {
        Format::Instruction => "instruction",
        Format::Sharegpt => "conversations",
        Format::Messages => "messages",
        Format::Guru => "prompt",
        _ => "conversation",
    }
}

#[test]
fn parquet_of_guru_and_sharegpt_reads_like_lines() {
    let turns = |names: [&str; 2]| {
        let fields: Fields = names.map(|name| Field::new(name, DataType::Utf8, true)).to_vec().into();
        let mut list = ListBuilder::new(StructBuilder::from_fields(fields, 0));
        for (index, text) in ["user", "Hi"].into_iter().enumerate() {
            list.values().field_builder::<StringBuilder>(index).unwrap().append_value(text);
        }
        list.values().append(true);
        list.append(true);
        Arc::new(list.finish()) as ArrayRef
    };
    let other = Arc::new(StringArray::from(vec!["x"])) as ArrayRef;
    for column in [("prompt", turns(["role", "content"])), ("conversations", turns(["from", "value"]))] {
        assert_eq!(spelt(&read_bytes(&parquet(vec![("id", other.clone()), column])).unwrap()), ["Hi"]);
    }
}
