"""Files of cases: none takes another's place."""

from medtl.handlers.segmentation import file_names


def test_no_two_cases_share_a_file() -> None:
    assert file_names(["MR/1", "MR/2"]) == ["MR_1", "MR_2"]
    assert file_names(["a/b_c", "a_b/c", "a_b_c", "d"]) == ["a_b_c", "a_b_c_2", "a_b_c_3", "d"]
    assert file_names(["a_b_2", "a/b", "a_b"]) == ["a_b_2", "a_b", "a_b_3"]
