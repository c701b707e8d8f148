// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// A token for local chains that behaves like USDT where it matters to a reader of balances: as many decimals as its
/// deployer says, events, and a supply that its owner can enlarge.
contract Token {
    string public constant name = "Local Tether USD";
    string public constant symbol = "USDT";

    uint8 public immutable decimals;
    address public immutable owner = msg.sender;
    uint256 public totalSupply;
    mapping(address => uint256) public balanceOf;

    event Transfer(address indexed from, address indexed to, uint256 value);

    constructor(uint8 decimals_) {
        decimals = decimals_;
    }

    function transfer(address to, uint256 value) external returns (bool) {
        balanceOf[msg.sender] -= value;
        balanceOf[to] += value;
        emit Transfer(msg.sender, to, value);
        return true;
    }

    /// Gives many holders their first balances in one transaction.
    function mint(address[] calldata to, uint256[] calldata values) external {
        require(msg.sender == owner, "only the owner mints");
        require(to.length == values.length, "as many values as holders");
        for (uint256 i = 0; i < to.length; i++) {
            totalSupply += values[i];
            balanceOf[to[i]] += values[i];
            emit Transfer(address(0), to[i], values[i]);
        }
    }
}
