//! Looking into a snapshot without a restore: which keys are meant, what lies under them, how two states differ.
//!
//! Pure: the snapshot is read in place, nothing is fetched or printed here.

pub mod compare;
pub mod fields;
pub mod select;
pub mod value;
