"""What was signed: handwriting, declaration, the signed application form."""
