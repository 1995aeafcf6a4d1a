//! What a PROXY header says does not depend on how its bytes arrive: a verdict
//! on a part is the verdict on the whole. A header that is read is bounded, and
//! a line that names a client is the line that this client's proxy would write.

#![no_main]

use std::net::{IpAddr, SocketAddr};

use knoxcall_filters::proxy_protocol::{Header, LONGEST, Source, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let whole = parse(data);
    for cut in 0..data.len().min(LONGEST) {
        match parse(&data[..cut]) {
            Header::NeedMore => {}
            settled => assert_eq!(settled, whole, "at {cut}"),
        }
    }
    match whole {
        Header::NeedMore => assert!(data.len() < LONGEST),
        Header::Invalid => {}
        Header::Done { source, consumed } => {
            assert!(consumed <= data.len() && consumed <= LONGEST);
            assert_eq!(parse(&data[..consumed]), whole);
            if let Source::Client(client) = source {
                check_client(client, &data[..consumed]);
            }
        }
    }
});

fn check_client(client: SocketAddr, header: &[u8]) {
    assert_eq!(client.ip(), client.ip().to_canonical());
    let Some(line) = header.strip_prefix(b"PROXY ") else {
        return check_binary(client, header);
    };
    let line = std::str::from_utf8(line).expect("a line is ASCII");
    let fields: Vec<&str> = line.trim_end().split(' ').collect();
    let [_, address, _, port, _] = fields[..] else {
        panic!("not five fields: {line:?}");
    };
    let address: IpAddr = address.parse().expect("an address");
    assert_eq!(client.ip(), address.to_canonical());
    assert_eq!(client.port().to_string(), port);
}

fn check_binary(client: SocketAddr, header: &[u8]) {
    let (address, port): (IpAddr, &[u8]) = match header[13] {
        0x11 => (
            <[u8; 4]>::try_from(&header[16..20]).unwrap().into(),
            &header[24..26],
        ),
        0x21 => (
            <[u8; 16]>::try_from(&header[16..32]).unwrap().into(),
            &header[48..50],
        ),
        family => panic!("a client of the family {family:#x}"),
    };
    assert_eq!(client.ip(), address.to_canonical());
    assert_eq!(client.port().to_be_bytes(), port);
}
