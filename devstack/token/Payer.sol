// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// Pays native coin out of what it is sent: payments whose receivers no transaction names.
contract Payer {
    /// Pays each of them an equal share.
    function pay(address payable[] calldata to) external payable {
        uint256 each = msg.value / to.length;
        for (uint256 i = 0; i < to.length; i++) {
            (bool taken, ) = to[i].call{value: each}("");
            require(taken, "not taken");
        }
    }

    /// Pays, and then takes everything back by failing.
    function payAndFail(address payable to) external payable {
        (bool taken, ) = to.call{value: msg.value}("");
        require(taken && false, "in vain");
    }

    /// Ends, and leaves what it has to an heir.
    function end(address payable heir) external payable {
        selfdestruct(heir);
    }
}
