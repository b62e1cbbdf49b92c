"""What writes replies. Imports neither Gradio nor the record, so that it runs and is measured alone."""
