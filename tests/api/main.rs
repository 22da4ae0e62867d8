//! What the database promises, through its public interface.

mod document;
mod observed;
