"""recsys: predicts likes before they happen, and measures what the like button still adds."""
