"""What a user would pick instead: each peer one small file that pushes and consumes the same
function from the same Redis."""
