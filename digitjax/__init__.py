"""digitjax: pictures of digits in, trusted digits out."""
