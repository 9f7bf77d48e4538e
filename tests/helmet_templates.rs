//! `retmask helmet templates`: the benchmark's wording from a checkout, which may hold anything.

mod support;

use serde_json::Value;
use support::workspace::Workspace;

/// A program built like HELMET's, in other words.
const PROGRAM: &str = r##"
import json  # a comment with "quotes"

def load_qa(dataset, shots=0):
    """Questions."""
    if "nq_bad" in dataset:
        user_template = "Not this one {context}"
    else:
        user_template = "Read.\n{demos}{context}\nAsk: {question}"
    system_template = "Reply:"
    prompt_template = user_template + "\n" + system_template
    # demo_template = "commented {out}"
    demo_template = "{documents}\nAsk: {question}\nReply: {answer}"
    passage_template = "Page ({title}): {text}"
    def update(sample):
        demo_text = ""
        if shots > 0:
            demo_text = "\n--\n".join([demo_template.format(**d, documents="\n".join(d["ctxs"]), answer=d["answers"][0])
                                      for d in demos]) + "\n==\n"
        passage_text = ""
        if len(sample['ctxs']) > 0:
            passage_text = "\n\n".join([passage_template.format(**c) for c in sample['ctxs']])
        return {"demos": demo_text}

def load_json_kv(path, shots):
    user_template = '''{context}
{demos}Key: {question}'''
    system_template = "Value:"
    prompt_template = user_template + "\n" + system_template
    demo_template = "Key: {key}\nValue:{value}"
    data = data.map(lambda x: {
        "demos": "\n\n".join([demo_template.format(key=key, value=" "+value) for key, value in x["demos"][:shots]]) + ("\n-\n" if shots > 0 else ""),
        "k": x["num_kvs"],
    })

def load_narrativeqa(dataset, shots=0):
    user_template = "Story.\n{demo}{context}\nQ: {question}"
    system_template = "A:"
    prompt_template = user_template + "\n" + system_template
    data = data.map(lambda example: {
        "answer": [ex["text"] for ex in example["answers"]],
        "demo": "" if shots == 0 else "E.g.\n" + "\n\n".join([f"Q: {ex['question']['text']}\nA: {ex['answers'][0]['text']}" for ex in all_data["train"].shuffle()]) + "\nNow:\n"
    }, remove_columns=["document", "answers"])

def load_multi_lexsum(dataset, shots=0):
    user_template = "Case.\n{demo}{context}"
    system_template = "In short:"
    prompt_template = user_template + "\n\n" + system_template
    all_data = all_data.map(lambda x: {
        "demo": "" if shots == 0 else "Like:\n" + "\n\n".join(["In short: {}".format(ex["summary/short"]) for ex in train_data]) + "\nNow:\n",
        "answer": x["summary/short"],
    })

def load_msmarco_rerank(path):
    user_template = "Rank.\n{demos}{context}\nFor: {question}"
    system_template = "Order:"
    prompt_template = user_template + "\n" + system_template
    def update(sample, demos):
        passage_template = "[{id}] ({title}) {text}"  if "title" in sample["ctxs"][0] else "[{id}] {text}"
        for d in demo:
            demo_text += "\n\n".join([passage_template.format(**c) for c in d['ctxs']]) + f"\nFor: {d['query']}\nOrder: {ranking}" + "\n\n"

def load_icl(dataset):
    item_template = "{text}\nlabel: {label}"
    user_template = "Say \"label: {{label}}\".\n{context}\n{question}"
    system_template = "label:"
    prompt_template = user_template + "\n" + system_template
    def preprocess(sample):
        context = "\n\n".join([
            item_template.format(text=item["text"]) for item in demos]
        )

def load_ruler(dataset, path):
    user_template = "{context}\n\n{question}"
    system_template = "Reply:"
    prompt_template = user_template + "\n" + system_template
    if "niah_mv" in dataset or "niah_mq" in dataset:
        user_template = "All {type_needle_v}.\n{context}\nWhich for {query}?"
        system_template = "They are"
    elif "niah" in dataset:
        user_template = "One {type_needle_v}.\n{context}\nWhich for {query}?"
        system_template = "It is"
    prompt_template = user_template + "\n" + system_template

def load_alce(dataset, path):
    user_template = "{demo_text}{instruction}\n{question}\n{context}"
    system_template = "Reply:"
    prompt_template = user_template + "\n\n" + system_template
    def preprocess_example(example):
        context = "\n\n".join([doc_prompt.format(**d) for d in example["docs"]])
        demo_text = "\n\n\n".join([
            demo_prompt.format(**demo, context="\n\n".join(demo["docs"])) for demo in demos
        ])
        if shots > 0:
            demo_text += "\n***\n"

def load_infbench(dataset, shots=0):
    if "qa_eng" in dataset:
        user_template = "Book.\n{demo}{context}\nQ: {question}"
        system_template = "A:"
    elif "choice_eng" in dataset:
        user_template = "Book.\n{demo}{context}\nQ: {question}\n{options}"
        system_template = "A:"
    elif "sum_eng" in dataset:
        user_template = "Sum up.\n{demo}{context}"
        system_template = "Sum:"
    prompt_template = user_template + "\n\n" + system_template
    def process_example(example):
        update = {"question": example["input"], "demo": ""}
        if "choice" in dataset:
            options = "A. {}\nB. {}\nC. {}\nD. {}".format(*example["options"])
    def add_demos(example):
        if "qa_eng" in dataset:
            temp = "[book]\nQ: {question}\nA: {answer[0]}"
            demo = "\n\n".join([temp.format(**x) for x in demos])
        elif "choice_eng" in dataset:
            temp = "[book]\nQ: {question}\n{options}\nA: {answer[0]}"
            demo = "\n\n".join([temp.format(**x) for x in demos])
        elif "sum_eng" in dataset:
            demo = "\n\n".join([f"[book]\nSum: {x['answer'][0].strip()}" for x in demos])
        return {"demo": f"E.g.\n{demo}\nNow:\n"}
"##;

fn templates(program: &str) -> support::Checked {
    let workspace = Workspace::new("");
    workspace.write("data.py", program);
    workspace.run(&["helmet", "templates", "--from", "."])
}

fn refused(program: &str) -> String {
    let run = templates(program);
    assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{}", run.err);
    assert!(run.err.contains("commit 4526dfb"), "{}", run.err);
    run.err
}

#[test]
fn constants_become_the_parts_of_templates() {
    let run = templates(PROGRAM);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(run.err.starts_with("warning: not the wording of the published numbers: json_kv, "), "{}", run.err);
    let found: Value = serde_json::from_str(&run.out).unwrap();
    let expected = [
        ("kilt_popqa_3", "user_template", "Read.\n{demos}{context}\nAsk: {question}"),
        ("kilt_nq", "demo", "{documents}\nAsk: {question}\nReply: {answer}"),
        ("kilt_nq", "demo_separator", "\n--\n"),
        ("kilt_nq", "demos_trailer", "\n==\n"),
        ("kilt_nq", "passage_separator", "\n\n"),
        ("json_kv", "user_template", "{context}\n{demos}Key: {question}"),
        ("json_kv", "demo", "Key: {key}\nValue: {value}"),
        ("json_kv", "demos_trailer", "\n-\n"),
        ("narrativeqa", "demo_header", "E.g.\n"),
        ("narrativeqa", "demo", "Q: {question}\nA: {answer}"),
        ("narrativeqa", "demos_trailer", "\nNow:\n"),
        ("multi_lexsum", "demo", "In short: {summary_short}"),
        ("multi_lexsum", "nonchat_joiner", "\n\n"),
        ("msmarco_rerank_psg", "passage", "[{id}] {text}"),
        ("msmarco_rerank_psg", "demo", "{passages}\nFor: {query}\nOrder: {id > id > ...}"),
        ("icl_*", "user_template", "Say \"label: {{label}}\".\n{context}\n{question}"),
        ("icl_*", "demo", "{text}\nlabel: {label}"),
        ("ruler_niah_mk_3", "assistant_prefix", "It is"),
        ("ruler_niah_mv", "assistant_prefix", "They are"),
        ("alce_qampari", "demos_trailer", "\n***\n"),
        ("infbench_choice_eng", "demo", "[book]\nQ: {question}\n{options}\nA: {answer[0]}"),
        ("infbench_sum_eng", "demo", "[book]\nSum: {answer[0].strip()}"),
        ("infbench_sum_eng", "demo_header", "E.g.\n"),
        ("infbench_qa_eng", "demos_trailer", "\nNow:\n"),
    ];
    for (dataset, part, text) in expected {
        assert_eq!(found[dataset][part], text, "{dataset} {part}");
    }
}

#[test]
fn what_is_extracted_can_be_used() {
    let workspace = Workspace::new("");
    workspace.write("data.py", PROGRAM);
    workspace.succeeds(&["helmet", "templates", "--from", ".", "--out", "templates.json"]);
    let text = workspace.read("templates.json");
    let templates = retmask_stages::helmet::template::Templates::from_json(&text, "templates.json").unwrap();
    for dataset in retmask_stages::helmet::dataset::ALL {
        let template = templates.of(dataset.name()).unwrap();
        template.part("user_template").unwrap();
        template.part("nonchat_joiner").unwrap();
    }
}

#[test]
fn a_constant_that_is_not_there_is_named() {
    let without = |from: &str, to: &str| {
        assert!(PROGRAM.contains(from));
        refused(&PROGRAM.replacen(from, to, 1))
    };
    let said = without("def load_icl(", "def load_other(");
    assert!(said.contains("there is no function `load_icl` (for `user_template` of icl_*)"), "{said}");
    let said = without("    item_template = ", "    itemtemplate = ");
    assert!(said.contains("`load_icl` has no `item_template = \"…\"` (for `demo` of icl_*)"), "{said}");
    let said = without("    elif \"niah\" in dataset:", "    elif \"other\" in dataset:");
    assert!(said.contains("under a condition on \"niah\""), "{said}");
    let said = without("Page ({title})", "Page ({headline})");
    assert!(said.contains("`passage` of kilt_nq: the field {headline} is not known"), "{said}");
}

#[test]
fn sources_that_are_no_python_are_refused() {
    assert!(refused("").contains("there is no function `load_qa`"));
    assert!(refused("x = 'open\n").contains("data.py: line 1: a string is not closed"));
    assert!(refused(&"(".repeat(100_000)).contains("a bracket is not closed"));
    assert!(refused(&format!("def load_qa():\n{}", nested(2_000))).contains("`load_qa` has no"));
    assert!(refused(&"# ".repeat(3 << 20)).contains("larger than"));
    let empty = Workspace::new("");
    let run = empty.run(&["helmet", "templates", "--from", "nowhere"]);
    assert_eq!(run.code, Some(2));
    assert!(run.err.contains("cannot read nowhere/data.py"), "{}", run.err);
    std::fs::write(empty.path("data.py"), b"\xff\xfe").unwrap();
    assert_eq!(empty.run(&["helmet", "templates", "--from", "."]).code, Some(2));
}

/// Conditions in conditions.
fn nested(depth: usize) -> String {
    (1..depth).map(|depth| format!("{}if x:\n", " ".repeat(depth))).collect()
}
