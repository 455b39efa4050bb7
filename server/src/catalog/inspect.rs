//! Owns .
