//! Tests of the wire format.

mod addresses;
mod known_answer;
mod properties;
mod refusals;
mod values;

use super::{Address, Limits, Message, parse};

/// The example of A2: signed with the key `foo` by the specification's own scheme.
const EXAMPLE: &[u8] = b"101c1ad32d6fe646a56edba43bd342ee11e45ba188c59aeec91a5590a0ea114d5\r\n\
    2008/09/01 00:00:53.42 http://alice.com/cmr\r\n\
    2008/09/01 00:00:53 udp://192.168.0.102:53/dns-tunnel\r\n\
    2008/08/31 23:59:01.0955 https://www.charlie.com/messages.pl\r\n\
    \r\n\
    14\r\n\
    Hello World!\r\n";

fn read(bytes: &[u8]) -> Message {
    parse(bytes, &Limits::default()).unwrap()
}

fn address(text: &str) -> Address {
    Address::try_from(text).unwrap()
}
