// Reads the token balance and the native balance of many owners at one block. Sent as init code, so nothing is deployed.
//
// Init code:  this code ‖ nonce (12 bytes) ‖ token (20) ‖ owner (20) × n
// Returns:    NUMBER ‖ TIMESTAMP ‖ CHAINID ‖ ECHO, a word each, then per owner one word: token balance << 128 | native balance
//
// ECHO is the keccak-256 of the whole init code: it says which request is answered. The token half is 2^128-1, the mark of
// a failure, when the call failed, did not return exactly 32 bytes, or returned a number of more than 128 bits.
//
// There are two variants. The second one is for chains on which the opcode NUMBER gives the number of a parent chain's
// block: it has `arbsys_number()` in the place of `number()`, and nothing else is different.
//
// Memory:     0x00 balanceOf's calldata (4 + 32 bytes)   0x40 what a call returned   0x60 the words to return
object "Reader" {
    code {
        let size := datasize("Reader")

        // The whole init code passes through memory from 0 on, so it is hashed before anything else is stored there.
        codecopy(0, 0, codesize())
        let echo := keccak256(0, codesize())
        mstore(0x00, shl(224, 0x70a08231)) // balanceOf(address)
        mstore(0x60, number())
        mstore(0x80, timestamp())
        mstore(0xa0, chainid())
        mstore(0xc0, echo)

        codecopy(0x40, size, 0x20)
        let token := and(mload(0x40), 0xffffffffffffffffffffffffffffffffffffffff)
        mstore(0x04, 0) // the 12 bytes before the owner

        let out := 0xe0
        for { let at := add(size, 0x20) } lt(at, codesize()) { at := add(at, 20) } {
            codecopy(0x10, at, 20)
            let amount := 0xffffffffffffffffffffffffffffffff
            // Arguments are evaluated from right to left: the size must be asked for after the call, so it stands first.
            if and(eq(returndatasize(), 0x20), staticcall(gas(), token, 0x00, 0x24, 0x40, 0x20)) {
                if iszero(shr(128, mload(0x40))) { amount := mload(0x40) }
            }
            mstore(out, or(shl(128, amount), balance(mload(0x04))))
            out := add(out, 0x20)
        }
        return(0x60, sub(out, 0x60))

        // The number of the chain's own block, by the precompile ArbSys at 0x64; zero, which no block has, without one.
        function arbsys_number() -> own {
            mstore(0x40, shl(224, 0xa3b1b31d)) // arbBlockNumber()
            if and(eq(returndatasize(), 0x20), staticcall(gas(), 0x64, 0x40, 0x04, 0x40, 0x20)) { own := mload(0x40) }
        }
    }
}
