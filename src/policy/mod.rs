//! Who may post and who may be answered.
