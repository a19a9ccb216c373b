package config

import (
	"regexp"
	"slices"
	"strings"
)

// itemShape is an item of a list as other notations of paths have it.
var itemShape = regexp.MustCompile(`\w\[(\d+)\]`)

// fromTheEnd is the number of an item as notations have it that count from the end of
// a list.
var fromTheEnd = regexp.MustCompile(`^-[0-9]+$`)

// checkResponse looks at where a reply holds what.
func (l *loader) checkResponse(key string, kind callKind, r HTTPResponse) {
	expiries := map[string]Expiry{
		"expires_in": r.ExpiresIn, "expires_at": r.ExpiresAt,
		"refresh_expires_in": r.RefreshExpiresIn, "refresh_expires_at": r.RefreshExpiresAt,
	}
	places := map[string]Place{
		"access_token": r.AccessToken, "refresh_token": r.RefreshToken, "subject": r.Subject,
		"user_data": r.UserData, "token_type": r.TokenType, "scope": r.Scope,
	}
	for part, expiry := range expiries {
		places[part] = expiry.Place()
		l.checkUnit(join(key, part), part, expiry.Unit)
	}
	for part, place := range places {
		at := join(key, part)
		switch {
		case !l.set(at):
		case kind.mute:
			l.refuse(at, "the reply of %s is not looked at for it; remove it", kind.section)
		default:
			l.checkPlace(at, place)
			if part != "user_data" { // which may be a list
				l.checkSingle(at, place.JSON)
			}
		}
	}
	for _, pair := range [][2]string{{"expires_in", "expires_at"}, {"refresh_expires_in", "refresh_expires_at"}} {
		if l.set(join(key, pair[0])) && l.set(join(key, pair[1])) {
			l.refuse(join(key, pair[0]), "it is set beside %s; name the one that the reply has", pair[1])
		}
	}
	if token := key + ".access_token"; kind.yields && r.AccessToken.IsZero() && l.whole(token) && l.readable(token) {
		l.refuse(token, "it is missing; say where the reply of %s holds the access token: a path into its JSON, {header: NAME} or {cookie: NAME}", kind.section)
	}
}

// checkUnit wants a notation that fits what is told: a span or a moment.
func (l *loader) checkUnit(key, part, unit string) {
	span := unit == "s" || unit == "ms"
	switch {
	case unit == "":
	case strings.HasSuffix(part, "_in") && !span:
		l.refuse(key+".unit", "%s is a moment, and %s tells how long; write s or ms, or use %s", unit, part, strings.TrimSuffix(part, "in")+"at")
	case strings.HasSuffix(part, "_at") && span:
		l.refuse(key+".unit", "%s counts how long, and %s is a moment; write unix, unix_ms, rfc3339 or http, or use %s", unit, part, strings.TrimSuffix(part, "at")+"in")
	}
}

// checkPlace wants exactly one place, of a name that can be.
func (l *loader) checkPlace(key string, p Place) {
	var named []string
	for _, one := range [][2]string{{"json", p.JSON}, {"header", p.Header}, {"cookie", p.Cookie}} {
		if one[1] != "" {
			named = append(named, one[0])
		}
	}
	switch {
	case len(named) > 1:
		l.refuse(key, "it names both %s and %s; name one", named[0], named[1])
	case p.Header != "" || l.set(key+".header"):
		l.checkHeaderName(key+".header", p.Header)
	case p.Cookie != "" || l.set(key+".cookie"):
		l.checkCookieName(key+".cookie", p.Cookie)
	case p.JSON != "":
		l.checkPath(key, p.JSON)
	case l.whole(key):
		l.refuse(key, "it names no place; write a path such as user.id, {header: NAME} or {cookie: NAME}")
	}
}

// checkPath refuses paths that belong to other notations, which would find
// nothing.
func (l *loader) checkPath(key, path string) {
	switch item := itemShape.FindStringSubmatch(path); {
	case strings.HasPrefix(path, "$"), strings.HasPrefix(path, "/"):
		l.refuse(key, "%q is in another notation; write names joined by dots, as in user.id, with nothing in front", path)
	case item != nil:
		l.refuse(key, "%q is in another notation; write the number of an item like a name, as in items.%s", path, item[1])
	case slices.ContainsFunc(lastParts(path), fromTheEnd.MatchString):
		l.refuse(key, "%q counts items from the end, which no path does, so that nothing would be found; write the number of the item from the start, as in items.0", path)
	case strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }), strings.TrimSpace(path) != path:
		l.refuse(key, "%q holds a control character, or space at an end; write a path like user.id", path)
	case path == wholeBody, strings.ContainsAny(path, `(\`): // the rest of gjson's syntax
	case slices.ContainsFunc(strings.FieldsFunc(path, func(r rune) bool { return r == '|' }), brokenPath):
		l.refuse(key, "%q does not lead to a value; write names joined by dots, as in user.id, or %s for the whole reply", path, wholeBody)
	}
}

// checkSingle refuses paths that lead to a list where one value is needed, for
// nothing would ever be found there.
func (l *loader) checkSingle(key, path string) {
	parts, many := lastParts(path), false
	before := strings.TrimSuffix(path, strings.Join(parts, "."))
	for i, part := range parts {
		switch {
		case part == "#": // of every item, or how many there are
			parts[i], many = "0", true
		case strings.HasPrefix(part, "#(") && strings.HasSuffix(part, ")#"):
			parts[i], many = strings.TrimSuffix(part, "#"), true
		}
	}
	if many {
		l.refuse(key, `%q leads to a list, and one value is needed; write the item that is meant, by its number or as the first that fits, as in %s`, path, before+strings.Join(parts, "."))
	}
}

// lastParts splits a path at its dots, without what is piped into the rest. What
// stands in a query or behind a backslash splits nothing.
func lastParts(path string) []string {
	var parts []string
	start, depth, quoted := 0, 0, false
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '\\':
			i++
		case c == '"' && depth > 0:
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')':
			depth--
		case depth > 0:
		case c == '|':
			parts, start = nil, i+1
		case c == '.':
			parts, start = append(parts, path[start:i]), i+1
		}
	}
	return append(parts, path[start:])
}

// wholeBody is the path of the whole reply.
const wholeBody = "@this"

// brokenPath reports whether a part of a path is empty, or would make a new
// value of others.
func brokenPath(path string) bool {
	return slices.ContainsFunc(strings.Split(path, "."), func(part string) bool {
		return part == "" || strings.ContainsRune("@!{[", rune(part[0]))
	})
}

// checkFailure looks at what recognises a reply.
func (l *loader) checkFailure(key string, f Failure) {
	redirects := f.Redirect != Redirect{}
	if !l.whole(key) {
		return
	}
	for name, text := range map[string]string{"json": f.JSON, "body_contains": f.BodyContains} {
		if text == "" && l.set(join(key, name)) {
			l.refuse(join(key, name), "it is empty; say what is looked for, or remove it")
			return
		}
	}
	switch {
	case f.Equals != "" && f.JSON == "":
		l.refuse(key+".equals", "there is nothing to compare with it; set json to the path of a value")
	case f.Status == Statuses{} && !redirects && f.JSON == "" && f.BodyContains == "":
		l.refuse(key, "it would match every reply; set status, redirect, json or body_contains")
	case f.Status.within(2) && !redirects && f.JSON == "" && f.BodyContains == "":
		l.refuse(key, "it would match replies that mean success; set json or body_contains beside the status")
	case redirects && f.Status != Statuses{} && !f.Status.within(3):
		l.refuse(key, "no reply has such a status and is a redirect; set one of them, or two entries")
	case f.JSON != "":
		l.checkPath(key+".json", f.JSON)
	}
}
