//! What the store promises, seen from outside: through its handle and through the files it leaves.

mod adoption;
mod fixture;
mod lasting;
mod published;
mod reports;
mod trouble;
