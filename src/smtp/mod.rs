//! SMTP as sans-IO sessions.
