//! Encrypting one block of 16 bytes: for numbers that are given to clients and are to say nothing to them.

use std::fmt;

use aes::Aes256;
use aes::cipher::{BlockCipherDecrypt as _, BlockCipherEncrypt as _, KeyInit as _};

use super::key::{DataKey, derive};

/// AES-256 (FIPS 197) on single blocks, under a key that is derived from a data key. The same block always becomes the same
/// ciphertext, so a block must be something that others may recognise when they see it again.
#[derive(Clone)]
pub struct BlockCipher(Aes256);

impl DataKey {
    /// The cipher for one purpose; the purpose keeps blocks of different things apart.
    pub fn block_cipher(&self, purpose: &str) -> BlockCipher {
        let label = format!("be8/block/1/{purpose}");
        BlockCipher(Aes256::new((&*derive(self.bytes(), label.as_bytes(), &[self.id()])).into()))
    }
}

impl BlockCipher {
    /// Encrypts a block.
    pub fn encrypt(&self, block: [u8; 16]) -> [u8; 16] {
        let mut block = block.into();
        self.0.encrypt_block(&mut block);
        block.into()
    }

    /// Decrypts a block. Whether it was ever encrypted must be visible in what it holds.
    pub fn decrypt(&self, block: [u8; 16]) -> [u8; 16] {
        let mut block = block.into();
        self.0.decrypt_block(&mut block);
        block.into()
    }
}

impl fmt::Debug for BlockCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlockCipher(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_opens_under_its_key_and_purpose_only() {
        let key = DataKey::random(1);
        let cipher = key.block_cipher("this");
        let block = *b"sixteen bytes...";
        let encrypted = cipher.encrypt(block);
        assert_ne!(encrypted, block);
        assert_eq!(key.clone().block_cipher("this").decrypt(encrypted), block, "every node derives the same");
        assert_ne!(key.block_cipher("that").decrypt(encrypted), block);
        assert_ne!(DataKey::random(1).block_cipher("this").decrypt(encrypted), block);
        assert_eq!(format!("{cipher:?}"), "BlockCipher(***)");
    }
}
