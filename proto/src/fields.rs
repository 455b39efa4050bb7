//! Owns the walk over the fields of an encoded message, so that somebody can look before it is decoded:
//! two bytes can become a hundred. Must not know: what the fields mean.

use prost::encoding::{WireType, decode_key, decode_varint};

/// A field as it is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its number.
    pub number: u32,
    /// What is in it, if it has a length; else nothing.
    pub inside: &'a [u8],
}

/// Why the walk ends early: what follows is no field, or one of a kind that no message of ours has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what follows is no field of a message")]
pub struct Unreadable;

/// The fields of a message. After an error there is nothing.
pub fn of(message: &[u8]) -> impl Iterator<Item = Result<Field<'_>, Unreadable>> {
    let mut rest = message;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = next(&mut rest).ok_or(Unreadable);
        if field.is_err() {
            rest = &[];
        }
        Some(field)
    })
}

/// How many fields a message has, if it is one and has no more than `most`.
#[must_use]
pub fn count(message: &[u8], most: usize) -> Option<usize> {
    let mut found = 0;
    for field in of(message) {
        field.ok()?;
        found += 1;
        if found > most {
            return None;
        }
    }
    Some(found)
}

fn next<'a>(rest: &mut &'a [u8]) -> Option<Field<'a>> {
    let (number, wire_type) = decode_key(rest).ok()?;
    let len = match wire_type {
        WireType::Varint => {
            decode_varint(rest).ok()?;
            0
        }
        WireType::ThirtyTwoBit => 4,
        WireType::SixtyFourBit => 8,
        WireType::LengthDelimited => usize::try_from(decode_varint(rest).ok()?).ok()?,
        // Groups are of the time before proto3.
        WireType::StartGroup | WireType::EndGroup => return None,
    };
    let (inside, after) = rest.split_at_checked(len)?;
    *rest = after;
    let inside = match wire_type {
        WireType::LengthDelimited => inside,
        _ => &[],
    };
    Some(Field { number, inside })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::discovery::DeltaDiscoveryRequest;
    use prost::Message;

    #[test]
    fn fields_are_found_without_decoding() {
        let request = DeltaDiscoveryRequest {
            type_url: "t".into(),
            resource_names_subscribe: vec!["a".into(), String::new()],
            ..DeltaDiscoveryRequest::default()
        };
        let bytes = request.encode_to_vec();
        let found: Result<Vec<_>, _> = of(&bytes)
            .map(|field| field.map(|it| (it.number, it.inside)))
            .collect();
        assert_eq!(found.unwrap(), [(2, &b"t"[..]), (3, b"a"), (3, b"")]);
    }

    #[test]
    fn what_is_no_message_ends_the_walk() {
        let kinds = [&[0x08, 1, 0x15, 1, 2, 3, 4, 0x11][..], &[0; 8]].concat();
        for (bytes, found) in [
            (&kinds[..], Some(3)),
            (&[], Some(0)),
            (&[0x08, 1, 0x12, 5, 0], None),
            (
                &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
                None,
            ),
            (&[0xff], None),
            (&[0x13, 0x14, 0x08, 1], None),
        ] {
            assert_eq!(count(bytes, 9), found, "{bytes:?}");
        }
        assert_eq!(count(&kinds, 2), None);
        assert_eq!(of(&[0x08, 1, 0x13, 0x08, 1]).count(), 2);
    }
}
