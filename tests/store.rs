//! Owns the tests of the stores: one contract for all of them, and what each must bear besides.
//! Must not know: what is kept in a store.
