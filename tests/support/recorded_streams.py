"""All the streams of all the APIs."""

from recorded_chat import CHAT
from recorded_messages import MESSAGES
from recorded_responses import RESPONSES

STREAMS = {
    **{f"chat: {name}": one for name, one in CHAT.items()},
    **{f"responses: {name}": one for name, one in RESPONSES.items()},
    **{f"messages: {name}": one for name, one in MESSAGES.items()},
}
