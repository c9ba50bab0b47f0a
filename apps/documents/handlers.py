"""What issuing leaves for documents."""

from apps.documents.services.parties import keep_parties
from apps.invoicing.services.issuing import register_issue_keeper

register_issue_keeper(keep_parties)
