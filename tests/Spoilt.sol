// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

// A token that eats all gas of a call when it is asked for one holder's balance.
contract Spoilt {
    address public constant SPOILT = 0x0000000000000000000000000000000000100005;

    uint8 public constant decimals = 6;

    function totalSupply() external pure returns (uint256) {
        return type(uint64).max;
    }

    function balanceOf(address owner) external pure returns (uint256) {
        if (owner == SPOILT) {
            assembly {
                invalid()
            }
        }
        return uint256(uint160(owner)) * 3;
    }
}
