package app

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/journal"
	"github.com/refreshd/refreshd/internal/refresh"
	"github.com/refreshd/refreshd/internal/seal"
)

// faultOf translates an error about one credential, which it names.
func faultOf(err error, id credential.ID) error {
	err = fault(err)
	if told, ok := errors.AsType[*api.FaultError](err); ok && told.Kind == api.FaultNotFound {
		told.Detail = "no credential has the ID " + string(id)
	}
	return err
}

// unserved translates the error of a call that asks for a token: it says of
// which provider none is to be had.
func (e apiEngine) unserved(ctx context.Context, id credential.ID, err error) error {
	away, ok := errors.AsType[*refresh.UnavailableError](err)
	told, isFault := errors.AsType[*api.FaultError](faultOf(err, id))
	if !ok || !isFault || told.Kind != api.FaultUnavailable {
		return faultOf(err, id)
	}
	if word := wrongHere(away.Err); word != "" {
		told.Detail = "no valid token can be had now: " + word
		return told
	}
	name := ""
	if away.Reason != credential.ReasonStoreUnavailable {
		name = e.providerOf(ctx, id)
	}
	told.Detail = fmt.Sprintf("no valid token can be had now (%s): %s", away.Reason, meaning(away, name))
	return told
}

// sendAgain is what to do about a change of which it is not known whether it was made.
const sendAgain = "look, or send it again"

// unstored translates the error of a call that stores a login. It says what a second
// one may be answered that brings the same refresh token, which is used meanwhile.
func unstored(err error, login credential.Login) error {
	away, ok := errors.AsType[*refresh.UnavailableError](err)
	told, isFault := errors.AsType[*api.FaultError](fault(err))
	if !ok || !isFault || !away.Unsure || login.Token.Refresh.IsZero() {
		return fault(err)
	}
	told.Detail = strings.Replace(told.Detail, sendAgain, sendAgain+": 409 stale_token then means that this refresh token was stored before, by this request if it was new, and has been used or replaced since", 1)
	return told
}

// askAgain is what to do once settings were mended that others wait for: a reload
// shortens the wait of no credential, for some backends count each request.
const askAgain = "Where settings were wrong, put them right and send SIGHUP; then refreshd refresh ID asks at once, for each that waits; by itself that is up to an hour later"

// wrongHere says what is wrong on this machine that it cannot be done; "" if err is
// about something else.
func wrongHere(err error) string {
	if missed, ok := errors.AsType[*seal.UnknownKeyError](err); ok {
		return fmt.Sprintf("it is sealed with key %d, which the keyset of this machine lacks; give it the keyset.file of the others, and it goes on by itself. refreshd keyset show lists the keys of a file", missed.ID)
	}
	switch {
	case errors.Is(err, journal.ErrNoRoom):
		return "the journal has no room" // the API has the words for a disk that is full
	case errors.Is(err, journal.ErrBroken):
		return "the journal cannot be written; look at the disk of data_dir, and in the log for the cause. It is tried again by itself, and /readyz has more"
	case errors.Is(err, journal.ErrStalled):
		return "the disk of the journal does not answer; look at the disk of data_dir. It goes on by itself when the disk does, other processes are not concerned, and /readyz has more"
	}
	return ""
}

// providerOf is the provider of a credential, "" where it cannot be told.
func (s *service) providerOf(ctx context.Context, id credential.ID) string {
	list, err := s.store.Records(ctx, id)
	if err != nil || list[0] == nil {
		return ""
	}
	return list[0].Record.Provider
}

// putOff says of a login that could not be made what became of it.
func putOff(off *refresh.LoginPutOffError) string {
	cause := string(off.Reason)
	if off.Detail != "" {
		cause += ": " + off.Detail
	}
	text := "this login cannot be made now (" + cause + "), and nothing was changed: the login and the token that are stored are kept, and that token still works. " +
		"The login has to be sent again"
	switch off.Reason {
	case credential.ReasonPaused, credential.ReasonClientMisconfigured:
		text += "; " + outage(off.Reason, "")
	default:
	}
	return text
}

// unclear says of a login what a backend has answered to it that is neither a
// token nor a refusal in words that are known.
func unclear(e *refresh.LoginUnclearError) string {
	answer := e.Detail
	for _, a := range e.Missing {
		answer = strings.TrimSuffix(answer, ", "+a.String())
	}
	if answer == "" {
		answer = string(e.Reason)
	}
	if len(e.Missing) == 0 {
		return "the backend refused the login request (" + answer + "), and not in words that are known to mean a wrong user name or password; " +
			"nothing was stored or changed, and it is not sent again by itself. See that both are right; " +
			"if they are, compare login.request with what the backend wants. What a refusal looks like can be told in login.failed_when"
	}
	return "the backend answered the login (" + answer + "), but " + e.Missing[0].Sentence() + ". " +
		"Nothing was stored or changed, and it is not sent again by itself. See that user name and password are right; " +
		"if they are, compare login.response with what the backend answers: refreshd provider check. What a refusal looks like can be told in login.failed_when"
}

// meaning is [outage] for whoever waits: a process that has died in the middle of a
// refresh is waited for only until that is proven.
func meaning(away *refresh.UnavailableError, provider string) string {
	if away.Doubt && away.Reason == credential.ReasonOwnerDied {
		return "the process that was at work on it has died, or was given up, after it had sent a refresh, and the reply is unknown. The access token is served while it lives; " +
			"the old refresh token is presented once more when Retry-After is over. Nothing has to be done; where that is refused, or to have a new token sooner, the user logs in again"
	}
	return outage(away.Reason, provider)
}

// outage says what a reason for which something cannot be done now means, and
// what is to be done about it. provider may be "".
func outage(reason credential.Reason, provider string) string {
	which, check := "the provider", "refreshd provider check"
	if provider != "" {
		which, check = "provider "+provider, check+" "+provider
	}
	switch reason {
	case credential.ReasonUnavailable:
		return which + " answers with an error of its own, or is still at work on an earlier request; it is asked again by itself, in a moment at first. Only if it goes on so, its operator has to mend it; refreshd get tells what it said"
	case credential.ReasonNetwork:
		return which + " cannot be reached, or cut the connection; it is asked again by itself. If it lasts, look at its address and the network: " + check
	case credential.ReasonTimeout:
		return which + " has not answered in time; it is asked again by itself. If it is always that slow, raise its timeout"
	case credential.ReasonRateLimited:
		return which + " takes no more calls for now, or its limits here are used up; ask again later. If it lasts, look at its limits"
	case credential.ReasonClientMisconfigured:
		return which + " refuses refreshd itself; put its settings right and send SIGHUP; after a new start the next probe is made within a minute: " + check +
			". If it goes on for others, only this credential is answered so: refreshd get tells what"
	case credential.ReasonInvalidRequest:
		return which + " refuses the form of the request, or no request can be made of what is stored, and nothing is sent; refreshd get tells which. " +
			"Compare its settings with its documentation (" + check + "), or store the credential again with what is missing. " + askAgain
	case credential.ReasonMalformedReply:
		return "the reply of " + which + " is not what its settings say; compare them: " + check + ". " + askAgain
	case credential.ReasonPaused:
		return "the credential, its provider or the whole service is held back until somebody resumes it; refreshd get says which"
	case credential.ReasonStoreUnavailable:
		return "Redis does not answer, or gets back what it lost, or this process has only just started and is not known to the others yet; everything goes on by itself once Redis is well. /readyz has more"
	case credential.ReasonOwnerDied:
		return "the process that was at work on it is not heard of; it is given time to come back with the answer, then another one takes it up by itself. If it is stopped, let it go on (kill -CONT) or kill it; if its machine is lost, bring it back"
	default:
		return "it goes on by itself; refreshd get tells of the last failure"
	}
}
