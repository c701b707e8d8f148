// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// A token for local chains that behaves like USDT where it matters to a reader of balances and to whoever follows its
/// events: as many decimals as its deployer says, a fee, and the changes of balances that no `Transfer` tells.
contract Token {
    string public constant name = "Local Tether USD";
    string public constant symbol = "USDT";

    uint8 public immutable decimals;
    address public immutable owner = msg.sender;
    uint256 public totalSupply;
    mapping(address => uint256) public balanceOf; // tests write into it: it stays in the second slot
    uint256 public basisPointsRate;
    uint256 public maximumFee;

    event Transfer(address indexed from, address indexed to, uint256 value);
    event DestroyedBlackFunds(address blackListedUser, uint256 balance);
    event Issue(uint256 amount);
    event Redeem(uint256 amount);
    event Params(uint256 feeBasisPoints, uint256 maxFee);
    event Deprecate(address newAddress);

    modifier onlyOwner() {
        require(msg.sender == owner, "only the owner");
        _;
    }

    constructor(uint8 decimals_) {
        decimals = decimals_;
    }

    function transfer(address to, uint256 value) external returns (bool) {
        move(msg.sender, to, value);
        return true;
    }

    /// Moves anybody's: a local chain's tests need no allowance.
    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        move(from, to, value);
        return true;
    }

    /// The owner's fee is a second `Transfer`, which comes first, as USDT's does.
    function move(address from, address to, uint256 value) private {
        uint256 fee = (value * basisPointsRate) / 10000;
        if (fee > maximumFee) fee = maximumFee;
        balanceOf[from] -= value;
        balanceOf[to] += value - fee;
        if (fee > 0) {
            balanceOf[owner] += fee;
            emit Transfer(from, owner, fee);
        }
        emit Transfer(from, to, value - fee);
    }

    /// Gives many holders their first balances in one transaction.
    function mint(address[] calldata to, uint256[] calldata values) external onlyOwner {
        require(to.length == values.length, "as many values as holders");
        for (uint256 i = 0; i < to.length; i++) {
            totalSupply += values[i];
            balanceOf[to[i]] += values[i];
            emit Transfer(address(0), to[i], values[i]);
        }
    }

    /// The owner's balance grows, and no `Transfer` tells it.
    function issue(uint256 value) external onlyOwner {
        balanceOf[owner] += value;
        totalSupply += value;
        emit Issue(value);
    }

    /// The owner's balance shrinks, and no `Transfer` tells it.
    function redeem(uint256 value) external onlyOwner {
        balanceOf[owner] -= value;
        totalSupply -= value;
        emit Redeem(value);
    }

    /// A holder loses everything, and no `Transfer` tells it.
    function destroyBlackFunds(address holder) external onlyOwner {
        uint256 value = balanceOf[holder];
        balanceOf[holder] = 0;
        totalSupply -= value;
        emit DestroyedBlackFunds(holder, value);
    }

    function setParams(uint256 newBasisPoints, uint256 newMaxFee) external onlyOwner {
        basisPointsRate = newBasisPoints;
        maximumFee = newMaxFee;
        emit Params(newBasisPoints, newMaxFee);
    }

    /// Says that another contract goes on; here nothing moves there.
    function deprecate(address newAddress) external onlyOwner {
        emit Deprecate(newAddress);
    }
}
