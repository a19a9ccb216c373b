package client

import (
	"fmt"
	"net/http"
)

// maxID is the longest ID of a credential in bytes.
const maxID = 128

// checkID refuses what refreshd would refuse as an ID, without a call, so that
// no ID can climb out of its place in a path.
func checkID(id string) error {
	wrong := ""
	switch {
	case id == "":
		wrong = "the credential's ID is empty"
	case len(id) > maxID:
		wrong = fmt.Sprintf("the credential's ID has %d bytes, at most %d are allowed", len(id), maxID)
	default:
		for i := range len(id) {
			if !idByte(id[i], i == 0) {
				wrong = fmt.Sprintf("the credential's ID has byte %#02x at position %d; allowed are A-Z a-z 0-9 and, after the first, . _ : @ -", id[i], i)
				break
			}
		}
	}
	if wrong == "" {
		return nil
	}
	return &Error{Status: http.StatusUnprocessableEntity, Code: "invalid", Detail: wrong, Location: "path.id"}
}

func idByte(c byte, first bool) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	case first:
		return false
	default:
		return c == '.' || c == '_' || c == ':' || c == '@' || c == '-'
	}
}
