use counterfoil_spec::refusal::Refusal;

use super::*;

#[test]
fn header_has_its_fields_where_the_text_says() {
    let header = FrameHeader {
        len: 0x0102_0304,
        kind: Kind::Combine,
        token_slot: 0x0506,
        counter: 0x0708_090a_0b0c_0d0e,
        seq: 0x0f10_1112,
        mac: [0xaa; 16],
    };
    let want = "04030201 03 00 0605 0e0d0c0b0a090807 1211100f 00000000 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    assert_eq!(hex(&header.to_bytes()), want.replace(' ', ""));
}

#[test]
fn header_reads_back() {
    let header =
        FrameHeader { len: 77, kind: Kind::Dispatch, token_slot: 1, counter: 9, seq: 4, mac: [7; 16] };
    assert_eq!(FrameHeader::read(&header.to_bytes()), Ok(header));
}

#[test]
fn length_is_judged_by_kind_before_anything_else() {
    let mut bytes = FrameHeader::control(64 * 1024).to_bytes();
    assert_eq!(FrameHeader::read(&bytes).map(|h| h.len), Ok(64 * 1024));
    bytes[0] = 1;
    let error = FrameHeader::read(&bytes).unwrap_err();
    assert_eq!(error, FrameError::TooLong { len: 64 * 1024 + 1, limit: 64 * 1024 });
    assert_eq!(error.refusal(), Refusal::SessionLength);
    bytes[4] = 2;
    bytes[..4].copy_from_slice(&(16 * 1024 * 1024 - 39_u32).to_le_bytes());
    assert_eq!(
        FrameHeader::read(&bytes),
        Err(FrameError::TooLong { len: 16 * 1024 * 1024 - 39, limit: 16 * 1024 * 1024 - 40 })
    );
}

#[test]
fn reserved_bytes_and_unknown_kinds_are_refused() {
    let good = FrameHeader { len: 1, kind: Kind::Dispatch, token_slot: 0, counter: 1, seq: 0, mac: [0; 16] };
    for at in [5, 20, 21, 22, 23] {
        let mut bytes = good.to_bytes();
        bytes[at] = 1;
        assert_eq!(FrameHeader::read(&bytes), Err(FrameError::Reserved));
    }
    for kind in [0, 4, 255] {
        let mut bytes = good.to_bytes();
        bytes[4] = kind;
        assert_eq!(FrameHeader::read(&bytes), Err(FrameError::Kind(kind)));
    }
}

#[test]
fn control_frames_carry_no_counter_and_no_mac() {
    for at in [6, 8, 16, 24, 39] {
        let mut bytes = FrameHeader::control(5).to_bytes();
        bytes[at] = 1;
        assert_eq!(FrameHeader::read(&bytes), Err(FrameError::Reserved));
    }
}
