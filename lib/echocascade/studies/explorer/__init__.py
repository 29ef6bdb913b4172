"""The explorer: an image in, a slider over the LVEF, a beating heart out, on a page."""
