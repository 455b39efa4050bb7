//! Owns changing protobuf so that most of it still decodes: fields by number and wire type, without a
//! schema. Must not know: any message.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// One field as it is on the wire.
#[derive(Clone, Debug)]
struct Field {
    number: u64,
    value: Wire,
}

#[derive(Clone, Debug)]
enum Wire {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(Vec<u8>),
    Fixed32([u8; 4]),
}

/// Changes one field, at any depth. `None` if the input is not protobuf, or has no field.
pub(super) fn mutate(input: &[u8], other: &[u8], random: &mut StdRng) -> Option<Vec<u8>> {
    let mut fields = parse(input)?;
    let at = random.random_range(0..fields.len().max(1));
    let donor = parse(other).and_then(|fields| fields.choose(random).cloned());
    match (random.random_range(0..7), fields.get_mut(at)) {
        (0, Some(_)) => drop(fields.remove(at)),
        (1, Some(field)) => {
            let twice = field.clone();
            fields.insert(at, twice);
        }
        (2, _) => fields.extend(donor),
        (3, Some(field)) => field.number = random.random_range(1..20),
        (_, Some(field)) => change(&mut field.value, other, random),
        (_, None) => fields.push(donor?),
    }
    Some(write(&fields))
}

fn change(value: &mut Wire, other: &[u8], random: &mut StdRng) {
    match value {
        Wire::Varint(number) => {
            let edges = [
                0,
                1,
                127,
                128,
                65_536,
                u64::from(u32::MAX),
                u64::MAX,
                1 << 63,
            ];
            *number = *edges.choose(random).expect("there are some");
        }
        Wire::Fixed64(bytes) => *bytes = random.random(),
        Wire::Fixed32(bytes) => *bytes = random.random(),
        Wire::Bytes(bytes) => match mutate(bytes, other, random) {
            Some(inner) if random.random_ratio(4, 5) => *bytes = inner,
            _ => *bytes = super::bytes(bytes, other, &["", "*", "\u{0}", "routes/1"], random),
        },
    }
}

fn parse(mut input: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !input.is_empty() {
        let tag = varint(&mut input)?;
        let value = match tag & 7 {
            0 => Wire::Varint(varint(&mut input)?),
            1 => Wire::Fixed64(take(&mut input, 8)?.try_into().ok()?),
            2 => {
                let len = usize::try_from(varint(&mut input)?).ok()?;
                Wire::Bytes(take(&mut input, len)?.to_vec())
            }
            5 => Wire::Fixed32(take(&mut input, 4)?.try_into().ok()?),
            _ => return None,
        };
        fields.push(Field {
            number: tag >> 3,
            value,
        });
    }
    Some(fields)
}

fn write(fields: &[Field]) -> Vec<u8> {
    let mut output = Vec::new();
    for field in fields {
        let (wire_type, value): (u64, &[u8]) = match &field.value {
            Wire::Varint(_) => (0, &[]),
            Wire::Fixed64(bytes) => (1, bytes),
            Wire::Bytes(bytes) => (2, bytes),
            Wire::Fixed32(bytes) => (5, bytes),
        };
        put_varint(field.number << 3 | wire_type, &mut output);
        match &field.value {
            Wire::Varint(number) => put_varint(*number, &mut output),
            Wire::Bytes(bytes) => put_varint(bytes.len() as u64, &mut output),
            Wire::Fixed64(_) | Wire::Fixed32(_) => {}
        }
        output.extend_from_slice(value);
    }
    output
}

fn varint(input: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take(input, 1)?[0];
        number |= u64::from(byte & 0x7f).wrapping_shl(shift);
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn put_varint(mut number: u64, output: &mut Vec<u8>) {
    while number >= 0x80 {
        output.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    output.push(number.to_le_bytes()[0]);
}

fn take<'a>(input: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = input.split_at_checked(len)?;
    *input = tail;
    Some(head)
}

/// What is not changed must come out as it went in, or the driver would test little.
#[test]
fn fields_are_written_as_they_were_read() {
    let message = [
        0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8,
    ];
    let written = parse(&message).map(|fields| write(&fields));
    assert_eq!(written.as_deref(), Some(&message[..]));
    assert!(parse(&[0x12, 0x05, b'h']).is_none());
}
