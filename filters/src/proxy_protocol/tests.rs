use proptest::prelude::*;

use super::*;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn binary(kind: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[kind, family], &length, rest].concat()
}

fn inet(source: [u8; 4], port: u16) -> Vec<u8> {
    let ports = [port.to_be_bytes(), 443_u16.to_be_bytes()].concat();
    [&source[..], &[198, 51, 100, 1], &ports].concat()
}

fn client(address: &str, consumed: usize) -> Header {
    Header::Done {
        source: Source::Client(address.parse().unwrap()),
        consumed,
    }
}

fn peer(consumed: usize) -> Header {
    let source = Source::Peer;
    Header::Done { source, consumed }
}

fn line(text: &str) -> Header {
    parse(format!("{text}\r\n").as_bytes())
}

#[test]
fn a_line_names_the_client_and_ends_where_the_request_begins() {
    let bytes = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\nGET / HTTP/1.1\r\n";
    assert_eq!(parse(bytes), client("192.0.2.1:56324", 45));
    assert_eq!(
        line("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535"),
        client("[2001:db8::1]:1", 44)
    );
}

#[test]
fn an_unknown_client_is_the_peer_whatever_is_said_of_it() {
    assert_eq!(line("PROXY UNKNOWN"), peer(15));
    assert_eq!(line("PROXY UNKNOWN ffff::1 ff 1 nonsense"), peer(37));
}

#[test]
fn the_longest_line_is_read_and_a_longer_one_is_refused() {
    let longest = format!("PROXY UNKNOWN {}", "f".repeat(91));
    assert_eq!(line(&longest), peer(107));
    assert_eq!(line(&format!("{longest}f")), Header::Invalid);
    assert_eq!(parse(longest.as_bytes()), Header::NeedMore);
    assert_eq!(parse(format!("{longest}ff").as_bytes()), Header::Invalid);
}

#[test]
fn refuses_lines_that_are_not_exactly_so() {
    for text in [
        "PROXY",
        "PROXY ",
        "PROXY TCP4",
        "PROXY UNKNOWNS",
        "PROXY TCP5 192.0.2.1 198.51.100.1 1 2",
        "proxy TCP4 192.0.2.1 198.51.100.1 1 2",
        "PROXY  TCP4 192.0.2.1 198.51.100.1 1 2",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 2 ",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1",
        "PROXY TCP4 192.0.2.01 198.51.100.1 1 2",
        "PROXY TCP4 192.0.2.1 198.51.100 1 2",
        "PROXY TCP4 192.0.2.1 198.51.100.1 +1 2",
        "PROXY TCP4 192.0.2.1 198.51.100.1 01 2",
        "PROXY TCP4 192.0.2.1 198.51.100.1 65536 2",
        "PROXY TCP4 192.0.2.1 198.51.100.1  2",
        "PROXY TCP4 2001:db8::1 198.51.100.1 1 2",
        "PROXY TCP6 192.0.2.1 198.51.100.1 1 2",
        "PROXY TCP6 fe80::1%eth0 2001:db8::2 1 2",
        "GET / HTTP/1.1",
    ] {
        assert_eq!(line(text), Header::Invalid, "{text}");
    }
    for bytes in [
        &b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\n"[..],
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\rX",
        b"PROXY TCP4 \0",
        b"PROXY UNKNOWN \x80\r\n",
        b"\x16\x03\x01",
        b"GET ",
    ] {
        assert_eq!(parse(bytes), Header::Invalid, "{bytes:?}");
    }
}

#[test]
fn a_binary_header_names_the_client() {
    let bytes = binary(0x21, 0x11, &inet([192, 0, 2, 1], 56324));
    assert_eq!(parse(&bytes), client("192.0.2.1:56324", 28));
    let mut addresses = vec![0; 36];
    addresses[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
    addresses[15] = 1;
    addresses[33] = 7;
    let bytes = binary(0x21, 0x21, &addresses);
    assert_eq!(parse(&bytes), client("[2001:db8::1]:7", 52));
}

#[test]
fn a_mapped_address_is_ipv4() {
    let mut addresses = vec![0; 36];
    addresses[10..16].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 1]);
    let bytes = binary(0x21, 0x21, &addresses);
    assert_eq!(parse(&bytes), client("192.0.2.1:0", 52));
    let line = line("PROXY TCP6 ::ffff:192.0.2.1 ::1 9 2");
    assert_eq!(line, client("192.0.2.1:9", 37));
}

#[test]
fn what_follows_the_addresses_is_skipped_up_to_a_bound() {
    let mut rest = inet([192, 0, 2, 1], 1);
    rest.resize(216 + 4096, 0xee);
    let bytes = binary(0x21, 0x11, &rest);
    assert_eq!(bytes.len(), LONGEST);
    assert_eq!(parse(&bytes), client("192.0.2.1:1", LONGEST));
    rest.push(0);
    assert_eq!(parse(&binary(0x21, 0x11, &rest)), Header::Invalid);
}

#[test]
fn a_local_connection_and_one_without_an_internet_address_are_the_peers() {
    assert_eq!(parse(&binary(0x20, 0x00, b"")), peer(16));
    assert_eq!(
        parse(&binary(0x20, 0x11, b"")),
        peer(16),
        "family is ignored"
    );
    assert_eq!(parse(&binary(0x20, 0xff, b"abc")), peer(19));
    assert_eq!(parse(&binary(0x21, 0x00, b"abc")), peer(19));
    assert_eq!(parse(&binary(0x21, 0x31, &[b'/'; 216])), peer(232));
}

#[test]
fn refuses_binary_headers_that_are_not_exactly_so() {
    let addresses = inet([192, 0, 2, 1], 1);
    for (kind, family) in [
        (0x11, 0x11),
        (0x31, 0x11),
        (0x22, 0x11),
        (0x2f, 0x11),
        (0x21, 0x12),
        (0x21, 0x22),
        (0x21, 0x32),
        (0x21, 0x10),
        (0x21, 0x41),
        (0x21, 0x01),
    ] {
        let bytes = binary(kind, family, &addresses);
        assert_eq!(parse(&bytes), Header::Invalid, "{kind:x} {family:x}");
    }
    for (family, short) in [(0x11, 11), (0x21, 35), (0x31, 215)] {
        let bytes = binary(0x21, family, &vec![0; short]);
        assert_eq!(parse(&bytes), Header::Invalid, "{family:x}");
    }
    let mut broken = binary(0x21, 0x11, &addresses);
    broken[5] ^= 1;
    assert_eq!(parse(&broken), Header::Invalid);
}

#[test]
fn each_part_of_a_header_asks_for_more() {
    for whole in [
        b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
        binary(0x21, 0x11, &inet([192, 0, 2, 1], 1)),
        binary(0x20, 0x00, b"tlv"),
    ] {
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]), Header::NeedMore, "{cut}");
        }
    }
}

fn header() -> impl Strategy<Value = Vec<u8>> {
    let text =
        "PROXY (TCP4|TCP6|UNKNOWN) ?[0-9a-f.:]{0,20} [0-9.]{0,9} [0-9]{0,5} [0-9]{1,5}\r?\n?";
    let kinds = prop::sample::select(vec![0x20_u8, 0x21, 0x11]);
    let families = prop::sample::select(vec![0_u8, 0x11, 0x21, 0x31, 0x12]);
    let rest = prop::collection::vec(any::<u8>(), 0..300);
    let binary = (kinds, families, rest).prop_map(|(k, f, rest)| binary(k, f, &rest));
    let noise = prop::collection::vec(any::<u8>(), 0..120);
    prop_oneof![text.prop_map(String::into_bytes), binary, noise]
}

proptest! {
    #[test]
    fn a_verdict_on_a_part_holds_for_the_whole(bytes in header(), more in prop::collection::vec(any::<u8>(), 0..20)) {
        let whole = [&bytes[..], &more].concat();
        let last = parse(&whole);
        for cut in 0..whole.len() {
            match parse(&whole[..cut]) {
                Header::NeedMore => {}
                settled => prop_assert_eq!(settled, last, "at {}", cut),
            }
        }
    }

    #[test]
    fn nothing_asks_for_more_than_the_longest(bytes in prop::collection::vec(any::<u8>(), LONGEST..LONGEST + 4)) {
        for begin in [&b"PROXY "[..], SIGNATURE, b""] {
            let bytes = [begin, &bytes].concat();
            prop_assert_ne!(parse(&bytes), Header::NeedMore);
        }
    }

    #[test]
    fn every_client_is_told_as_it_is(address: std::net::IpAddr, port: u16) {
        let text = match address {
            std::net::IpAddr::V4(_) => format!("PROXY TCP4 {address} 198.51.100.1 {port} 443\r\n"),
            std::net::IpAddr::V6(_) => format!("PROXY TCP6 {address} ::1 {port} 443\r\n"),
        };
        let source = Source::Client(SocketAddr::new(address.to_canonical(), port));
        let consumed = text.len();
        prop_assert_eq!(parse(text.as_bytes()), Header::Done { source, consumed });
    }
}
