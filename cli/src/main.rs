//! The one program, `counterfoil`.
fn main() {}
