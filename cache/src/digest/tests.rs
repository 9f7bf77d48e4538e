use proptest::prelude::*;

use super::{Digest, DigestKind, Key};

proptest! {
    #[test]
    fn digests_and_keys_read_back(bytes in any::<[u8; 32]>()) {
        for kind in [DigestKind::Bytes, DigestKind::Logical, DigestKind::Tree] {
            let digest = Digest::new(kind, bytes);
            prop_assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
            let json = serde_json::to_string(&digest).expect("JSON");
            prop_assert_eq!(serde_json::from_str::<Digest>(&json).expect("JSON"), digest);
        }
        prop_assert_eq!(Key::new(bytes).to_string().parse::<Key>(), Ok(Key::new(bytes)));
    }

    #[test]
    fn one_digest_has_one_spelling(text in "(b3|l3|t3|B3|x3)?:?[0-9a-fA-F ]{60,66}") {
        if let Ok(digest) = text.parse::<Digest>() {
            prop_assert_eq!(digest.to_string(), text);
        }
    }
}

#[test]
fn what_is_not_a_digest_is_refused() {
    let hex = "0123456789abcdef".repeat(4);
    for text in
        ["", ":", "b3:", &hex, &format!("b4:{hex}"), &format!("b3:{hex}0"), &format!("b3:{}", hex.to_uppercase())]
    {
        assert!(text.parse::<Digest>().is_err(), "{text}");
    }
    for text in ["", &hex[1..], &format!("b3:{hex}"), &hex.to_uppercase(), &hex.replace('0', "é")] {
        assert!(text.parse::<Key>().is_err(), "{text}");
    }
    // Quotes and JSON escapes reach the same value.
    let escaped = format!("\"\\u0062{}\"", &format!("b3:{hex}")[1..]);
    assert_eq!(serde_json::from_str::<Digest>(&escaped).expect("JSON").hex(), hex);
}
