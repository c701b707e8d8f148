"""Which addresses are asked for, and as which bytes."""

import pytest

from config.addresses import BadAddress, Family, account_bytes, canonical


@pytest.mark.parametrize(
    ("family", "address", "account"),
    [
        ("evm", "0xdAC17F958D2ee523a2206206994597C13D831ec7", "dac17f958d2ee523a2206206994597c13d831ec7"),
        ("evm", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"),
        ("evm", "0xde709f2102306220921060314715629080e2fb77", "de709f2102306220921060314715629080e2fb77"),
        ("evm", "0x52908400098527886E0F7030069857D2E4169EE7", "52908400098527886e0f7030069857d2e4169ee7"),
        ("evm", "0X52908400098527886E0F7030069857D2E4169EE7", "52908400098527886e0f7030069857d2e4169ee7"),
        ("tron", "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", "a614f803b6fd780986a42c78ec9c7f77e6ded13c"),
        ("tron", "T9yD14Nj9j7xAB4dbGeiX9h8unkKHxuWwb", "00" * 20),
        ("tron", "TZJozAg1ruapycCicgz31GxvYJ1FraLjZa", "ff" * 20),
    ],
)
def test_a_valid_address_in_any_form_gives_its_twenty_bytes(family: Family, address: str, account: str) -> None:
    assert account_bytes(family, address).hex() == account


@pytest.mark.parametrize(
    ("family", "address", "reason"),
    [
        ("evm", "", "40 hexadecimal"),
        ("evm", "dAC17F958D2ee523a2206206994597C13D831ec7", "40 hexadecimal"),
        ("evm", "0xdAC17F958D2ee523a2206206994597C13D831ec", "40 hexadecimal"),
        ("evm", "0xdAC17F958D2ee523a2206206994597C13D831ec70", "40 hexadecimal"),
        ("evm", "0xgAC17F958D2ee523a2206206994597C13D831ec7", "40 hexadecimal"),
        ("evm", "0x" + "\uff11" * 40, "40 hexadecimal"),
        ("evm", "0xdAC17F958D2ee523a2206206994597C13D831ec7\n", "40 hexadecimal"),
        ("evm", "0xDAC17F958D2ee523a2206206994597C13D831ec7", "checksum"),
        ("evm", "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", "40 hexadecimal"),
        ("tron", "", "34 characters"),
        ("tron", "0xdAC17F958D2ee523a2206206994597C13D831ec7", "34 characters"),
        ("tron", "41a614f803b6fd780986a42c78ec9c7f77e6ded13c", "34 characters"),
        ("tron", "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6T", "checksum"),
        ("tron", "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6u", "checksum"),
        ("tron", "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj0t", "checksum"),
        ("tron", "\uff34R7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", "34 characters"),
        ("tron", " TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6", "checksum"),
        ("tron", "TZJozAg1ruapycCicgz31GxvYJ1G1qELV7", "not an address of a Tron network"),
    ],
)
def test_an_address_that_is_not_one_is_refused_with_the_reason(family: Family, address: str, reason: str) -> None:
    with pytest.raises(BadAddress, match=reason):
        account_bytes(family, address)


@pytest.mark.parametrize(
    ("family", "address", "one"),
    [
        ("evm", "0xdAC17F958D2ee523a2206206994597C13D831ec7", "0xdac17f958d2ee523a2206206994597c13d831ec7"),
        ("evm", "0XDAC17F958D2EE523A2206206994597C13D831EC7", "0xdac17f958d2ee523a2206206994597c13d831ec7"),
        ("tron", "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"),
    ],
)
def test_an_address_has_one_spelling_by_which_it_is_compared(family: Family, address: str, one: str) -> None:
    assert canonical(family, address) == one


def test_an_address_of_another_family_has_no_spelling_in_this_one() -> None:
    with pytest.raises(BadAddress):
        canonical("evm", "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t")
