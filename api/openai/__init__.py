"""The door for clients of OpenAI's Batch API: a file of lines comes in, a job is made of it, files of lines go out."""
