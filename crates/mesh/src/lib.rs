//! Carries messages and HTTP between authenticated nodes.
