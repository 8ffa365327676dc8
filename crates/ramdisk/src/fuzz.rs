//! Entry points for fuzzing the readers of outside bytes. They must return for any input.

/// An initramfs archive.
pub fn fuzz_cpio(data: &[u8]) {
    if let Ok(archive) = crate::cpio::Archive::from_bytes(data) {
        // what was understood must survive another round
        let again = crate::cpio::Archive::from_bytes(&archive.to_bytes());
        assert!(again.is_ok_and(|again| again == archive));
    }
}

/// A kernel module.
pub fn fuzz_modinfo(data: &[u8]) {
    let _ = crate::parse_modinfo(data);
    let _ = crate::check_static(data);
}
