//! What references become, and what is refused.

use super::super::yaml;
use super::*;

fn expanded(content: &str) -> Result<Node, Vec<String>> {
    let mut texts = Texts::default();
    texts.add("file", content);
    let mut faults = Vec::new();
    let root = yaml::parse(0, 0, content).unwrap();
    let expanded = expand(&root, &texts, &mut faults);
    if faults.is_empty() {
        return Ok(expanded.unwrap().root);
    }
    Err(faults.into_iter().map(|fault| fault.message).collect())
}

fn at<'a>(root: &'a Node, key: &str) -> &'a Node {
    &root.mapping().unwrap().entry(key).unwrap().value
}

#[test]
fn a_whole_scalar_keeps_the_type_and_a_part_is_text() {
    let content = "params: {n: 3, list: [1, 2], again: \"${params.n}\"}\na: ${params.n}\nb: \"${params.list}\"\n\
                   c: n=${params.n}\nd: $${params.n}\ne: ${params.again}\nf: ${params.n}${params.n}\n";
    let root = expanded(content).unwrap();
    assert_eq!(at(&root, "a").describe(), "the number 3");
    assert_eq!(at(&root, "b").describe(), "a list");
    assert_eq!(at(&root, "c").describe(), "the text `n=3`");
    assert_eq!(at(&root, "d").describe(), "the text `${params.n}`");
    assert_eq!(at(&root, "e").describe(), "the number 3");
    assert_eq!(at(&root, "f").describe(), "the text `33`");
    assert_eq!(at(&root, "a").used.unwrap().start as usize, content.find("\na: ").unwrap() + 4);
}

#[test]
fn nested_parameters_are_reached_through_references() {
    let root = expanded("params:\n  a: {x: {y: 1}}\n  b: ${params.a}\n  c: ${params.b.x}\nv: ${params.c.y}\n").unwrap();
    assert_eq!(at(&root, "v").describe(), "the number 1");
}

#[test]
fn faults_are_reported_once_each() {
    assert_eq!(
        expanded(
            "params: {tau: 1}\na: ${params.tua}\nb: ${params.tua}\nc: ${tau}\nd: ${params.tau\ne: ${params.tau.x}\n"
        )
        .unwrap_err(),
        [
            "`params` has no `tua`",
            "`params` has no `tua`",
            "`tau` is not a parameter",
            "this reference has no closing `}`",
            "`params.tau` has no `x`",
        ]
    );
    assert_eq!(
        expanded("params:\n  a: ${params.b}\n  b: ${params.c}\n  c: x${params.a}\nv: ${params.a}\n").unwrap_err(),
        ["parameters refer to each other: `params.b` -> `params.c` -> `params.a` -> `params.b`"]
    );
    assert_eq!(expanded("params: {l: [1]}\na: x${params.l}\n").unwrap_err().len(), 1);
    assert_eq!(expanded("a: ${params.x}\n").unwrap_err(), ["`params` has no `x`"]);
}

#[test]
fn reference_bombs_are_refused() {
    let mut lists = String::from("params:\n  a0: [x, x, x, x, x, x, x, x, x, x]\n");
    let mut texts = String::from("params:\n  a0: xxxxxxxxxxxxxxxx\n");
    for level in 1..20 {
        let below = format!("\"${{params.a{}}}\", ", level - 1).repeat(10);
        lists.push_str(&format!("  a{level}: [{below}]\n"));
        texts.push_str(&format!("  a{level}: \"{}\"\n", format!("${{params.a{}}}", level - 1).repeat(10)));
    }
    assert!(expanded(&lists).unwrap_err()[0].contains("grows beyond"));
    assert!(expanded(&texts).unwrap_err()[0].contains("grows beyond"));
    let mut chain = String::from("params:\n  a0: 1\n");
    for level in 1..2000 {
        chain.push_str(&format!("  a{level}: ${{params.a{}}}\n", level - 1));
    }
    // In file order every parameter finds the one before it known.
    assert!(expanded(&chain).is_ok());
    let backwards: String = (0..2000).map(|level| format!("  a{level}: ${{params.a{}}}\n", level + 1)).collect();
    assert!(expanded(&format!("params:\n{backwards}")).unwrap_err()[0].contains("in a row"));
}
