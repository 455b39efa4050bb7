//! The integration tests of the whole, as one binary.

mod fuzz;
