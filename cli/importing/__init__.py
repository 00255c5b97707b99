"""`cacah import`: what offices have as files becomes events, sent as any station sends them.

A file is read twice. The first time every row is checked and reported (`checking`), the second
time the good rows are sent (`delivering`). In between lie the file as rows (`opening`,
`text_files`, `workbooks`), what its columns mean (`layouts`), and a row as a person (`people`).
"""
