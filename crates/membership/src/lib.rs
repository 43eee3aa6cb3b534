//! Decides who is alive and who leads.
