//! Where each naming says that tensors lie.
