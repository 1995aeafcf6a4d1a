//! Against a reference that knows only the rule: every byte of any occurrence
//! of any form, on the whole text.

use proptest::prelude::*;

use super::*;

const KEY: &str = "sk_live_4f9a8b7c6d5e";
/// Of every kind of character that an encoder writes in another way.
const ODD: &str = "p/w d+é\"\\<&>'=~😀";
const PEM: &str = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\n-----END KEY-----\n";

fn guard(values: &[&str]) -> LeakGuard {
    LeakGuard::new(values.iter().copied()).unwrap()
}

fn naive(values: &[&str], text: &[u8]) -> Vec<u8> {
    let mut masked = text.to_vec();
    for form in forms::all(values.iter().copied()) {
        for at in 0..=text.len().saturating_sub(form.len()) {
            if text[at..].starts_with(&form) {
                masked[at..at + form.len()].fill(MASK);
            }
        }
    }
    masked
}

/// What the client gets where the text arrives in these parts. At each border
/// no more may be held back than what may be the beginning of a form.
fn streamed(guard: &LeakGuard, forms: &[forms::Form], parts: &[&[u8]]) -> Vec<u8> {
    let (mut masker, mut out, mut fed) = (Masker::default(), Vec::new(), Vec::new());
    for part in parts {
        fed.extend_from_slice(part);
        out.extend(masker.feed(guard, Bytes::copy_from_slice(part), false));
        let held = fed.len() - out.len();
        let is_beginning = |form: &forms::Form| {
            form.len() > held && (held..form.len()).any(|n| fed.ends_with(&form[..n]))
        };
        assert!(
            held == 0 || forms.iter().any(is_beginning),
            "{held} bytes held"
        );
    }
    out.extend(masker.feed(guard, Bytes::new(), true));
    out
}

/// Whole, cut in two at every place, and byte by byte.
fn check(values: &[&str], text: &[u8]) {
    let (guard, forms) = (guard(values), forms::all(values.iter().copied()));
    let expected = naive(values, text);
    let mut whole = text.to_vec();
    let hits = guard.mask(&mut whole);
    assert_eq!(text_of(&whole), text_of(&expected));
    assert_eq!(hits > 0, expected != text);
    for at in 0..=text.len() {
        let (one, other) = text.split_at(at);
        let parts = streamed(&guard, &forms, &[one, other]);
        assert_eq!(text_of(&parts), text_of(&expected), "cut at {at}");
    }
    let bytes: Vec<&[u8]> = text.chunks(1).collect();
    assert_eq!(streamed(&guard, &forms, &bytes), expected);
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// In ordinary text, alone, twice in a row, and cut short.
fn surroundings(form: &[u8]) -> [Vec<u8>; 4] {
    let whole = |parts: &[&[u8]]| parts.concat();
    let short = &form[..form.len() - 1];
    [
        whole(&[b"{\"error\":\"no such key: ", form, b"\",\"status\":401}"]),
        form.to_vec(),
        whole(&[b"a", form, form, b"z"]),
        whole(&[b"..", short, form, short]),
    ]
}

/// The forms of a value that one function of `forms` makes are told by the
/// text they have in it: each test of a form checks that at every split.
fn check_form(value: &str, form: &str) {
    let forms = forms::all([value].into_iter());
    assert!(
        forms.iter().any(|own| **own == form.as_bytes()),
        "{form} is not a form"
    );
    for text in surroundings(form.as_bytes()) {
        check(&[value, KEY], &text);
    }
}

#[test]
fn a_value_as_it_is_is_masked_at_every_split() {
    check_form(KEY, KEY);
    check_form(ODD, ODD);
    check_form(PEM, PEM.trim());
}

#[test]
fn base64_is_masked_at_every_split_and_alignment() {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
    for user in ["", "u", "us", "use", "user"] {
        for value in [KEY, ODD] {
            let text = format!("{user}:{value}:rest");
            for encoded in [
                base64::Engine::encode(&BASE64_STANDARD, &text),
                base64::Engine::encode(&BASE64_URL_SAFE, &text),
            ] {
                let masked = naive(&[value], encoded.as_bytes());
                let stars = masked.iter().filter(|byte| **byte == MASK).count();
                assert!(stars + 2 >= value.len() * 8 / 6, "{encoded}");
                check(&[value], encoded.as_bytes());
            }
        }
    }
}

#[test]
fn percent_encoding_is_masked_at_every_split() {
    check_form(ODD, "p%2Fw%20d%2B%C3%A9%22%5C%3C%26%3E'%3D~%F0%9F%98%80");
    check_form(ODD, "p%2fw+d%2b%c3%a9%22%5c%3c%26%3e%27%3d~%f0%9f%98%80");
}

#[test]
fn json_escapes_are_masked_at_every_split() {
    check_form(ODD, r#"p\/w d+é\"\\<&>'=~😀"#);
    check_form(ODD, r#"p/w d+\u00e9\"\\\u003c\u0026\u003e'=~\ud83d\ude00"#);
}

#[test]
fn xml_escapes_are_masked_at_every_split() {
    for form in [
        "p/w d+é&quot;\\&lt;&amp;&gt;&#39;=~😀",
        "p/w d+é&quot;\\&lt;&amp;&gt;&#039;=~😀",
        "p/w d&#43;é&#34;\\&lt;&amp;&gt;&#39;=~😀",
        "p/w d+é&quot;\\&lt;&amp;&gt;&#x27;&#x3D;~😀",
        "p&#x2F;w d+é&quot;\\&lt;&amp;&gt;&#39;&#x3D;~😀",
    ] {
        check_form(ODD, form);
    }
}

#[test]
fn hex_is_masked_at_every_split() {
    check_form("jklmnopz", "6a6b6c6d6e6f707a");
    check_form("jklmnopz", "6A6B6C6D6E6F707A");
}

#[test]
fn every_form_of_every_kind_of_value_is_masked_at_every_split() {
    for value in [KEY, "12345678", "aaaaaaaa", "abababab", ODD] {
        for form in forms::all([value].into_iter()) {
            for text in surroundings(&form) {
                check(&[value], &text);
            }
        }
    }
}

#[test]
fn secrets_that_overlap_or_hold_one_another_are_masked_whole() {
    let values = ["abcdefgh", "defghijklm", "cdefghij", "abcdefghijklmnop"];
    for text in [
        "xabcdefghijklmx",
        "xabcdefghijklmnopx",
        "abcdefghijklmno",
        "abcabcdefgh",
        "cdefghijklm",
    ] {
        check(&values, text.as_bytes());
    }
}

#[test]
fn what_is_almost_a_secret_passes() {
    let guard = guard(&[KEY]);
    for text in [
        "sk_live_4f9a8b7c6d5f",
        "k_live_4f9a8b7c6d5e",
        "",
        "sk_live_",
    ] {
        let mut bytes = text.as_bytes().to_vec();
        assert_eq!(guard.mask(&mut bytes), 0);
        assert_eq!(bytes, text.as_bytes());
    }
}

#[test]
fn nothing_is_guarded_where_all_values_are_short() {
    assert!(LeakGuard::new(["1234567", ""].into_iter()).is_none());
    assert!(LeakGuard::new(std::iter::empty()).is_none());
}

#[test]
fn clean_parts_are_not_copied() {
    let (guard, mut masker) = (guard(&[KEY]), Masker::default());
    let part = Bytes::from_static(b"{\"nothing\":\"of interest\"}");
    let out = masker.feed(&guard, part.clone(), false);
    assert_eq!(out.as_ptr(), part.as_ptr());
    assert_eq!(out, part);
}

#[test]
fn only_the_beginning_of_a_secret_waits() {
    let (guard, mut masker) = (guard(&[KEY]), Masker::default());
    let mut feed =
        |part: &'static str| masker.feed(&guard, Bytes::from_static(part.as_bytes()), false);
    assert_eq!(feed("key: sk_li"), "key: ");
    assert_eq!(feed("ght, sk_"), "sk_light, ");
    assert_eq!(feed("live_4f9a8b7c6d5e."), "********************.");
    assert_eq!(feed("s"), "");
    assert_eq!(feed("s"), "s");
}

#[test]
fn what_is_released_is_gone_and_the_rest_is_masked_all_the_same() {
    let (guard, mut masker) = (guard(&[KEY]), Masker::default());
    let part = Bytes::from_static(b"end sk_live_");
    assert_eq!(masker.feed(&guard, part, false), "end ");
    assert_eq!(masker.release(), "sk_live_");
    assert_eq!(masker.release(), "");
    let part = Bytes::from_static(b"4f9a8b7c6d5e!");
    assert_eq!(masker.feed(&guard, part, false), "************!");
    assert_eq!(masker.hits(), 1);
}

#[test]
fn hits_are_counted_alike_however_the_text_is_cut() {
    let guard = guard(&[KEY]);
    let text = format!("{KEY} and {KEY}{KEY}");
    for size in [1, 2, 3, 7, 100] {
        let mut masker = Masker::default();
        for part in text.as_bytes().chunks(size) {
            masker.feed(&guard, Bytes::copy_from_slice(part), false);
        }
        assert_eq!(masker.hits(), 3);
    }
}

#[test]
fn values_of_headers_are_masked_and_other_headers_are_left() {
    let guard = guard(&[KEY]);
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("location", format!("https://a.example/?key={KEY}")),
        ("set-cookie", format!("a={KEY}")),
        ("set-cookie", "b=1".to_owned()),
        ("x-long", "nothing of interest in here".to_owned()),
    ] {
        headers.append(name, HeaderValue::try_from(value).unwrap());
    }
    assert_eq!(guard.mask_headers(&mut headers), 2);
    assert_eq!(
        headers["location"],
        "https://a.example/?key=********************"
    );
    let cookies: Vec<_> = headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=********************", "b=1"]);
    assert_eq!(headers["x-long"], "nothing of interest in here");
}

#[test]
fn debug_shows_nothing_of_a_secret() {
    assert_eq!(format!("{:?}", guard(&[KEY])), "LeakGuard([redacted])");
}

/// Texts that look like the forms of these values: pieces of them, and noise.
fn text(values: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let forms = forms::all(values.iter().copied());
    let piece =
        (prop::sample::select(forms), 0_usize..200, 0_usize..200).prop_map(|(form, start, end)| {
            let (start, end) = (start % form.len(), end % form.len() + 1);
            form[start.min(end - 1)..end].to_vec()
        });
    let whole = prop::sample::select(forms::all(values.iter().copied()));
    let whole = whole.prop_map(|form| form.to_vec());
    let noise = prop::collection::vec(any::<u8>(), 0..40);
    let part = prop_oneof![2 => piece, 2 => whole, 1 => noise];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

const VALUES: &[&str] = &[KEY, ODD, "abababab", "bababababa", "sk_live_4f9a", PEM];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn masks_what_the_reference_masks_at_every_split(text in text(VALUES)) {
        check(VALUES, &text);
    }

    #[test]
    fn masks_what_the_reference_masks_in_any_parts(
        text in text(VALUES),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        let (mut parts, mut from) = (Vec::new(), 0);
        for cut in cuts {
            parts.push(&text[from..cut]);
            from = cut;
        }
        parts.push(&text[from..]);
        let out = streamed(&guard(VALUES), &forms::all(VALUES.iter().copied()), &parts);
        prop_assert_eq!(text_of(&out), text_of(&naive(VALUES, &text)));
    }

    #[test]
    fn any_value_is_masked_in_any_text(
        value in "[ -~é😀\n]{8,40}",
        before in prop::collection::vec(any::<u8>(), 0..80),
        after in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        prop_assume!(value.trim().len() >= SHORTEST);
        for form in forms::all([value.as_str()].into_iter()) {
            let text = [&before, form.as_slice(), &after].concat();
            let mut masked = text.clone();
            guard(&[&value]).mask(&mut masked);
            prop_assert_eq!(masked, naive(&[&value], &text));
        }
    }
}
