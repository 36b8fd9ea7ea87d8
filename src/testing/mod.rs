//! A broker for tests and demos.
