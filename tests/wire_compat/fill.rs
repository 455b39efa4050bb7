//! Owns filling in messages at random. Must not know: which messages.

use prost_reflect::bytes::Bytes;
use prost_reflect::{
    Cardinality, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt};

/// Messages within messages. Envoy's are recursive: conditions in conditions.
const DEEPEST: u32 = 7;

/// A message with most of its fields filled in, and of those only what `known` has too. No value is the
/// default of its field, so that what is lost on the way is missed.
pub(super) fn fill(
    descriptor: &MessageDescriptor,
    known: &MessageDescriptor,
    rng: &mut SmallRng,
) -> DynamicMessage {
    filled(descriptor, known, rng, 0)
}

fn filled(
    descriptor: &MessageDescriptor,
    known: &MessageDescriptor,
    rng: &mut SmallRng,
    depth: u32,
) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    let both = |field: &FieldDescriptor| known.get_field_by_name(field.name()).map(|_| ());
    let mut fields: Vec<_> = descriptor.fields().filter(|f| both(f).is_some()).collect();
    // One of each oneof, and not always the same.
    for oneof in descriptor.oneofs() {
        let of: Vec<_> = oneof.fields().filter(|f| both(f).is_some()).collect();
        if of.is_empty() {
            continue;
        }
        let chosen = of[rng.random_range(0..of.len())].number();
        fields.retain(|field| {
            field.number() == chosen || !of.iter().any(|other| other.number() == field.number())
        });
    }
    for field in fields {
        let is_message = matches!(field.kind(), Kind::Message(_));
        // The deeper, the fewer: the whole stays small.
        let share = if depth < 2 { 0.8 } else { 0.45 };
        if (is_message && depth >= DEEPEST) || !rng.random_bool(share) {
            continue;
        }
        let known = known
            .get_field_by_name(field.name())
            .expect("known to both");
        message.set_field(&field, field_value(&field, &known, rng, depth));
    }
    message
}

fn field_value(
    field: &FieldDescriptor,
    known: &FieldDescriptor,
    rng: &mut SmallRng,
    depth: u32,
) -> Value {
    if field.is_map() {
        let (Kind::Message(entry), Kind::Message(known)) = (field.kind(), known.kind()) else {
            panic!("a map's entries are messages");
        };
        let of = |entry: &MessageDescriptor| entry.map_entry_value_field();
        let entries = (0..rng.random_range(1..3)).map(|_| {
            let value = single(&of(&entry).kind(), &of(&known).kind(), rng, depth);
            (MapKey::String(text(rng)), value)
        });
        return Value::Map(entries.collect());
    }
    if field.cardinality() == Cardinality::Repeated {
        let count = rng.random_range(1..3);
        let values = (0..count).map(|_| single(&field.kind(), &known.kind(), rng, depth));
        return Value::List(values.collect());
    }
    single(&field.kind(), &known.kind(), rng, depth)
}

fn single(kind: &Kind, known: &Kind, rng: &mut SmallRng, depth: u32) -> Value {
    match (kind, known) {
        (Kind::Message(message), Kind::Message(known)) => {
            Value::Message(filled(message, known, rng, depth + 1))
        }
        (_, Kind::Enum(values)) => {
            let numbers: Vec<i32> = values.values().map(|value| value.number()).collect();
            let set: Vec<i32> = numbers.iter().copied().filter(|n| *n != 0).collect();
            let choice = if set.is_empty() { &numbers } else { &set };
            Value::EnumNumber(choice[rng.random_range(0..choice.len())])
        }
        (Kind::String, _) => Value::String(text(rng)),
        (Kind::Bytes, _) => Value::Bytes(Bytes::from(text(rng))),
        (Kind::Bool, _) => Value::Bool(true),
        (Kind::Double, _) => Value::F64(f64::from(rng.random_range(1..1000)) / 8.0),
        (Kind::Float, _) => Value::F32(rng.random_range(1_u16..1000).into()),
        (Kind::Int32 | Kind::Sint32 | Kind::Sfixed32, _) => {
            Value::I32(rng.random_range(1..=i32::MAX))
        }
        (Kind::Int64 | Kind::Sint64 | Kind::Sfixed64, _) => {
            Value::I64(-rng.random_range(1..=i64::MAX))
        }
        (Kind::Uint32 | Kind::Fixed32, _) => Value::U32(rng.random_range(1..=u32::MAX)),
        (Kind::Uint64 | Kind::Fixed64, _) => Value::U64(rng.random_range(1..=u64::MAX)),
        (kind, known) => panic!("{kind:?} is {known:?} in the other files"),
    }
}

fn text(rng: &mut SmallRng) -> String {
    format!("{:x}é", rng.next_u32())
}
