// Package reqtemplate reads the templates that the requests of a declared
// backend are made of: text with fields in double braces, as in
//
//	Bearer {{.access_token}}
//
// It is the smallest part of text/template's syntax: no functions, no
// conditions, no variables. What a field's value has to look like depends on
// where the text goes, so that whoever renders it also encodes the values.
package reqtemplate
