//! Senses the machine.
