//! Conformance of the key: what must change it, what must not, and fixed vectors for other implementations.

use std::collections::BTreeMap;

use proptest::prelude::*;
use retmask_model::Numerics;
use serde::Serialize;
use serde_json::json;

use super::super::difference::compare;
use super::super::value::{Value, ValueError};
use super::{KeyInput, StageKey};

#[derive(Serialize, Clone, Default)]
struct Nested {
    depth: u32,
    rate: f64,
}

#[derive(Serialize, Clone)]
struct Example {
    tau: f64,
    count: u32,
    name: String,
    pick: Option<u64>,
    nested: Nested,
    weights: BTreeMap<String, f64>,
    names: Vec<String>,
}

impl Default for Example {
    fn default() -> Self {
        Self {
            tau: 0.1,
            count: 20,
            name: "retrieval".into(),
            pick: Some(4),
            nested: Nested { depth: 2, rate: 0.5 },
            weights: BTreeMap::from([("a".into(), 1.0)]),
            names: vec!["x".into()],
        }
    }
}

fn input(role: &str, digit: &str) -> KeyInput {
    KeyInput { role: role.into(), media: "retmask/mask;v1".into(), digest: format!("l3:{}", digit.repeat(64)) }
}

/// As those of a kind whose defaults are the type's.
fn parameters<P: Serialize + Default>(parameters: &P) -> Result<Value, ValueError> {
    super::parameters(parameters, &Value::of(&P::default())?)
}

fn key_of(value: &impl Serialize) -> StageKey {
    StageKey::new("test", 1, Value::of(value).expect("encodes"), &[], None)
}

fn key_with<P: Serialize + Default>(value: &P) -> StageKey {
    StageKey::new("test", 1, parameters(value).expect("encodes"), &[], None)
}

#[test]
fn a_private_key_is_its_users_alone() {
    let key = || key_of(&json!({"a": 1}));
    assert_ne!(key().private().digest(), key().digest());
    assert_eq!(key().private().digest(), key().private().digest());
    let user = rustix::process::geteuid().as_raw();
    assert_eq!(key().private().to_json()["private"]["u64"], user);
    assert!(key().to_json().get("private").is_none());
}

#[test]
fn swapping_two_inputs_changes_the_key() {
    let key = |chosen, rejected| {
        StageKey::new("dpo", 1, Value::Null, &[input("chosen", chosen), input("rejected", rejected)], None).digest()
    };
    assert_ne!(key("a", "b"), key("b", "a"));
}

#[test]
fn neighbouring_texts_do_not_run_together() {
    let key = |a: &str, b: &str| key_of(&BTreeMap::from([("a", a), ("b", b)])).digest();
    assert_ne!(key("1b", "2"), key("1", "b2"));
    assert_ne!(key_of(&["ab", "c"]).digest(), key_of(&["a", "bc"]).digest());
    assert_ne!(key_of(&vec![vec![1u8], vec![2]]).digest(), key_of(&vec![vec![1u8, 2]]).digest());
}

#[test]
fn types_are_part_of_the_key() {
    let keys = [
        key_of(&1u64).digest(),
        key_of(&1i64).digest(),
        key_of(&1.0f64).digest(),
        key_of(&"1").digest(),
        key_of(&true).digest(),
        key_of(&[1u64]).digest(),
        key_of(&None::<u64>).digest(),
        key_of(&"").digest(),
        key_of(&[0u64; 0]).digest(),
        key_of(&BTreeMap::<String, u64>::new()).digest(),
    ];
    let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len());
    // Widths are not types: a field may grow from u32 to u64 without a new key.
    assert_eq!(key_of(&1u8).digest(), key_of(&1u64).digest());
    assert_eq!(key_of(&0.1f32).digest(), key_of(&0.1f64).digest());
}

#[test]
fn minus_zero_is_zero_and_nan_is_refused() {
    assert_eq!(key_of(&-0.0f64).digest(), key_of(&0.0f64).digest());
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let example = Example { nested: Nested { rate: bad, depth: 1 }, ..Example::default() };
        let ValueError { field, message } = parameters(&example).expect_err("not finite");
        assert_eq!(field, "nested.rate");
        assert!(message.contains("finite"), "{message}");
    }
}

#[test]
fn texts_are_compared_in_normal_form_c() {
    assert_eq!(key_of(&"caf\u{e9}").digest(), key_of(&"cafe\u{301}").digest());
    let map = |name: &str| key_of(&BTreeMap::from([(name, 1u64)])).digest();
    assert_eq!(map("\u{e9}"), map("e\u{301}"));
    let twice = BTreeMap::from([("\u{e9}", 1u64), ("e\u{301}", 2)]);
    assert!(Value::of(&twice).is_err(), "two names that are one after normalisation");
}

#[test]
fn the_order_of_map_names_does_not_matter() {
    struct Pairs(Vec<(&'static str, u64)>);
    impl Serialize for Pairs {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(self.0.iter().copied())
        }
    }
    let (forward, backward) = (Pairs(vec![("a", 1), ("b", 2)]), Pairs(vec![("b", 2), ("a", 1)]));
    assert_eq!(key_of(&forward).digest(), key_of(&backward).digest());
}

#[test]
fn a_new_option_at_its_default_keeps_the_key() {
    #[derive(Serialize, Default)]
    struct Before {
        tau: f64,
    }
    #[derive(Serialize, Default)]
    struct After {
        tau: f64,
        extra: Option<String>,
        nested: Nested,
    }
    assert_eq!(key_with(&Before { tau: 0.2 }).digest(), key_with(&After { tau: 0.2, ..After::default() }).digest());
    assert_eq!(key_with(&Before { tau: 0.0 }).to_json()["params"], json!({}));
}

#[test]
fn defaults_inside_nested_structs_are_left_out_but_maps_stay_whole() {
    let example = Example { nested: Nested { depth: 3, rate: 0.5 }, ..Example::default() };
    assert_eq!(parameters(&example).expect("encodes").to_json(), json!({ "nested": { "depth": { "u64": 3 } } }));
    let read_back =
        parameters(&example).expect("encodes").with_defaults(&Value::of(&Example::default()).expect("encodes"));
    assert_eq!(read_back.plain()["nested"], json!({ "depth": 3, "rate": 0.5 }));
    assert_eq!(read_back.plain()["names"], json!(["x"]));
    // A map without the default's entry and one with a second entry must not meet.
    let empty = Example { weights: BTreeMap::new(), ..Example::default() };
    let second = Example { weights: BTreeMap::from([("a".into(), 1.0), ("b".into(), 2.0)]), ..Example::default() };
    let other = Example { weights: BTreeMap::from([("b".into(), 2.0)]), ..Example::default() };
    let keys = [&Example::default(), &empty, &second, &other].map(|example| key_with(example).digest());
    let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len());
}

#[test]
fn a_field_its_serialiser_skips_is_not_the_default() {
    #[derive(Serialize)]
    struct Skips {
        #[serde(skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
    }
    impl Default for Skips {
        fn default() -> Self {
            Self { limit: Some(8) }
        }
    }
    assert_ne!(key_with(&Skips { limit: None }).digest(), key_with(&Skips::default()).digest());
}

#[test]
fn numerics_epoch_kind_and_media_are_in_the_key() {
    let base = || input("mask", "a");
    let key = |kind, epoch, input: KeyInput, numerics| StageKey::new(kind, epoch, Value::Null, &[input], numerics);
    let keys = [
        key("dpo", 1, base(), None).digest(),
        key("dpo", 1, base(), Some(Numerics::F32)).digest(),
        key("dpo", 1, base(), Some(Numerics::Bf16)).digest(),
        key("dpo", 2, base(), None).digest(),
        key("helmet", 1, base(), None).digest(),
        key("dpo", 1, KeyInput { role: "mask.a".into(), ..base() }, None).digest(),
        key("dpo", 1, KeyInput { media: "retmask/mask;v2".into(), ..base() }, None).digest(),
        key("dpo", 1, input("mask", "b"), None).digest(),
    ];
    let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len());
}

#[test]
fn differences_are_told_field_by_field() {
    let key = |tau, digest: &str| {
        let example = Example { tau, ..Example::default() };
        StageKey::new("build-mask", 1, parameters(&example).expect("encodes"), &[input("scores", digest)], None)
            .to_json()
    };
    let defaults = Value::of(&Example::default()).expect("encodes");
    let differences = |old, new| compare(&old, &new, &defaults).differences;
    let lines = |old, new| differences(old, new).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(lines(key(0.1, "a"), key(0.1, "a")), Vec::<String>::new());
    assert_eq!(lines(key(0.1, "a"), key(0.2, "a")), ["with.tau 0.1 -> 0.2"]);
    assert_eq!(lines(key(0.3, "a"), key(0.2, "a")), ["with.tau 0.3 -> 0.2"]);
    let [changed] = &differences(key(0.3, "a"), key(0.3, "b"))[..] else { panic!("one difference") };
    assert_eq!(changed.field, "in.scores");
    // v, kind, epoch, seven parameters of which one is a list and one a map of one name, one input.
    assert_eq!(compare(&key(0.3, "a"), &key(0.2, "b"), &defaults).fields, 12);
    let mut older = key(0.3, "a");
    older["epoch"] = json!({ "u64": 0 });
    assert_eq!(lines(older.clone(), key(0.3, "a")), ["epoch 0 -> 1"]);
    assert_eq!(lines(older, key(0.1, "a")), ["epoch 0 -> 1", "with.tau 0.3 -> default"]);
}

/// Any tree of values; finite floats, short names.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::I64),
        any::<u64>().prop_map(Value::U64),
        any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(|value| Value::F64(value + 0.0)),
        "\\PC{0,6}".prop_map(|text| Value::text(&text)),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            prop::collection::btree_map("(i64|u64|f64|map|[a-c]{0,2})", inner, 0..4).prop_map(Value::Map),
        ]
    })
}

proptest! {
    /// The encoding is injective: different trees have different bytes, equal trees equal bytes.
    #[test]
    fn different_values_have_different_encodings(a in any_value(), b in any_value()) {
        let bytes = |value: &Value| StageKey::new("test", 1, value.clone(), &[], None).encode();
        prop_assert_eq!(a == b, bytes(&a) == bytes(&b));
    }

    /// The readable form loses nothing.
    #[test]
    fn the_readable_form_reads_back(value in any_value()) {
        let text = value.to_json().to_string();
        let json: serde_json::Value = serde_json::from_str(&text).expect("own JSON");
        prop_assert_eq!(Value::from_json(&json), Some(value));
    }

    /// One flipped bit in any field changes the key.
    #[test]
    fn one_bit_in_any_field_changes_the_key(
        tau in any::<f64>().prop_filter("finite", |value| value.is_finite()),
        count in any::<u32>(),
        name in "[a-z]{1,8}",
        bit in 0u32..32,
        field in 0usize..13,
    ) {
        let base = Example { tau, count, name: name.clone(), ..Example::default() };
        let (mut changed, mut kind, mut epoch) = (base.clone(), "test".to_owned(), 1);
        let (mut inputs, mut numerics) = ([input("chosen", "a"), input("rejected", "b")], Numerics::F32);
        let of_inputs = inputs.clone();
        let flipped = f64::from_bits(tau.to_bits() ^ 1 << (bit % 52));
        // Of a text the lowest bit of one character: a letter stays one of ASCII.
        let flip = |text: &mut String| {
            let at = bit as usize % text.len();
            let flipped = char::from(text.as_bytes()[at] ^ 1);
            text.replace_range(at..=at, &flipped.to_string());
        };
        match field {
            0 => changed.tau = flipped,
            1 => changed.count ^= 1 << bit,
            2 => flip(&mut changed.name),
            3 => changed.pick = changed.pick.map(|pick| pick ^ 1 << bit),
            4 => changed.nested.depth ^= 1 << bit,
            5 => changed.nested.rate = f64::from_bits(changed.nested.rate.to_bits() ^ 1 << (bit % 52)),
            6 => changed.weights = BTreeMap::from([("a".into(), f64::from_bits(1f64.to_bits() ^ 1 << (bit % 52)))]),
            7 => changed.weights = BTreeMap::from([("c".into(), 1.0)]),
            8 => flip(&mut changed.names[0]),
            9 => flip(&mut kind),
            10 => epoch ^= 1 << bit,
            11 => match bit % 3 {
                0 => flip(&mut inputs[1].role),
                1 => flip(&mut inputs[0].media),
                _ => flip(&mut inputs[1].digest),
            },
            _ => numerics = Numerics::Bf16,
        }
        // The two zeros are one value by rule.
        prop_assume!(!(field == 0 && tau == 0.0 && flipped == 0.0));
        let key = |example: &Example, kind: &str, epoch, inputs: &[KeyInput], numerics| {
            StageKey::new(kind, epoch, parameters(example).expect("encodes"), inputs, Some(numerics)).digest()
        };
        prop_assert_ne!(
            key(&base, "test", 1, &of_inputs, Numerics::F32),
            key(&changed, &kind, epoch, &inputs, numerics)
        );
    }
}

/// Fixed vectors: the readable key, its canonical bytes and its digest. They may only ever be added to.
#[test]
fn fixed_vectors_hold() {
    let vectors: Vec<serde_json::Value> = serde_json::from_str(include_str!("vectors.json")).expect("vectors");
    let keys = vector_keys();
    assert_eq!(vectors.len(), keys.len());
    for (vector, key) in vectors.iter().zip(&keys) {
        assert_eq!(vector["fields"], key.to_json());
        let encoded: String = key.encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(vector["encoding"], encoded, "{}", key.to_json());
        assert_eq!(vector["key"], key.digest().to_string(), "{}", key.to_json());
    }
}

fn vector_keys() -> Vec<StageKey> {
    let parameters_of = |example: &Example| parameters(example).expect("encodes");
    let changed = Example {
        tau: 0.2,
        count: 7,
        name: "cafe\u{301}".into(),
        pick: None,
        nested: Nested { depth: 2, rate: -0.0 },
        weights: BTreeMap::from([("u64".into(), 2.0)]),
        names: Vec::new(),
    };
    vec![
        StageKey::new("build-mask", 1, parameters_of(&Example::default()), &[input("scores", "a")], None),
        StageKey::new("build-mask", 1, parameters_of(&changed), &[input("scores", "a")], None),
        StageKey::new(
            "dpo",
            3,
            parameters_of(&changed),
            &[input("chosen", "b"), input("mask.x", "c")],
            Some(Numerics::F32),
        ),
        key_of(&(1u64, -1i64, 1.5f64, "1", true, None::<u64>)),
    ]
}
