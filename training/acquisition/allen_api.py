"""The Allen Mouse Connectivity Atlas, through allensdk; the one module that imports it.

The SDK builds the queries and knows the layout. Its own transfers are replaced by those of
`download.Connection`: its queries have no time-out at all, and its downloads cannot go on where
they broke off.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from requests import RequestException

from napari_brainvae.io.errors import InputError
from training.acquisition.experiment_ids import whole_numbers
from training.acquisition.http import Connection, Damaged, reason
from training.acquisition.volumes import CCF, Unusable

log = logging.getLogger(__name__)

# allensdk 2.16.2 uses two names that numpy 2 dropped.
for _name, _value in (
    ("VisibleDeprecationWarning", np.exceptions.VisibleDeprecationWarning),
    ("NAN", np.nan),
):
    if _name not in vars(np):
        setattr(np, _name, _value)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from allensdk.api.queries.mouse_connectivity_api import MouseConnectivityApi
    from allensdk.api.queries.ontologies_api import OntologiesApi
    from allensdk.api.warehouse_cache.cache import Cache
    from allensdk.core.mouse_connectivity_cache import MouseConnectivityCache
    from allensdk.core.structure_tree import StructureTree

RESOLUTION_UM = int(CCF.spacing_um)
ADULT_MOUSE_GRAPH = 1


class _Patient:
    """An allensdk client that asks through a `Connection`; one try a call."""

    connection: Connection

    def retrieve_parsed_json_over_http(self, url: str, post: bool = False) -> Any:
        return self.connection.get_json(quote(url, safe=";/?:@&=+$,"))

    def retrieve_file_over_http(self, url: str, file_path: str, zipped: bool = False) -> None:
        self.connection.get_file(url, Path(file_path))


class _ConnectivityApi(_Patient, MouseConnectivityApi):  # type: ignore[misc]
    pass


class _OntologiesApi(_Patient, OntologiesApi):  # type: ignore[misc]
    pass


class _Connectivity(MouseConnectivityCache):  # type: ignore[misc]
    """The SDK's cache over a patient client; it makes the client of the ontology itself."""

    def __init__(self, folder: Path, api: _ConnectivityApi, ontologies: _OntologiesApi) -> None:
        super().__init__(resolution=RESOLUTION_UM, manifest_file=str(folder / "manifest.json"))
        self.api = api
        self.ontologies = ontologies

    def get_structure_tree(
        self, file_name: str | None = None, structure_graph_id: int = ADULT_MOUSE_GRAPH
    ) -> Any:
        return self.ontologies.get_structures_with_sets(
            strategy="lazy",
            path=self.get_cache_path(file_name, self.STRUCTURE_TREE_KEY),
            pre=StructureTree.clean_structures,
            post=StructureTree,
            structure_graph_ids=structure_graph_id,
            **Cache.cache_json(),
        )


class AllenService:
    """What this project asks of the Allen Institute.

    Parameters
    ----------
    connection
        How to ask.
    server
        Base address of the API; the SDK's own by default.
    archive
        Base address of the download archive; the SDK's own by default.
    """

    def __init__(
        self, connection: Connection, server: str | None = None, archive: str | None = None
    ) -> None:
        self._connection = connection
        server = server.rstrip("/") if server else None
        self._api = _ConnectivityApi(base_uri=server)
        self._ontologies = _OntologiesApi(base_uri=server)
        self._api.connection = self._ontologies.connection = connection
        if archive is not None:
            # base_uri does not redirect the volumes of the atlas.
            self._api.informatics_archive_endpoint = archive.rstrip("/") + "/informatics-archive"

    def experiments(self, injection_structures: Sequence[str] = ()) -> pd.DataFrame:
        """List the experiments, one row each, indexed by ``id``.

        Parameters
        ----------
        injection_structures
            Acronyms; only experiments injected in one of them or in a part of one.

        Raises
        ------
        InputError
            If there is no such structure, or the list is not as documented.
        OSError
            If the list cannot be fetched.
        """
        # A fresh folder each time: the SDK would take a half-written file of its own for whole.
        with TemporaryDirectory() as folder:
            cache = _Connectivity(Path(folder), self._api, self._ontologies)
            try:
                chosen = self._structure_ids(cache, injection_structures)
                records = self._connection.persistently(
                    lambda: cache.get_experiments(injection_structure_ids=chosen)
                )
            except (RequestException, Damaged) as error:
                raise OSError(
                    f"the list of experiments could not be fetched: {reason(error)}"
                ) from error
            except (KeyError, AttributeError, TypeError) as error:
                raise InputError(
                    f"the list of experiments is not as documented: {error!r}"
                ) from error
        if not records:
            where = f" injected in {', '.join(injection_structures)}" if chosen else ""
            raise InputError(f"the service lists no experiment{where}")
        return _by_id(pd.DataFrame(records))

    def _structure_ids(self, cache: _Connectivity, acronyms: Sequence[str]) -> list[int] | None:
        if not acronyms:
            return None
        ids = self._connection.persistently(cache.get_structure_tree).get_id_acronym_map()
        unknown = [acronym for acronym in acronyms if acronym not in ids]
        if unknown:
            raise InputError(f"the atlas has no structure {', '.join(unknown)}")
        return [ids[acronym] for acronym in acronyms]

    def download_volumes(self, experiment: int, path: Path) -> None:
        """Try once to fetch the three channels of a brain, on the atlas grid, as a zip.

        Raises
        ------
        Unusable
            If the service has no such file.
        requests.RequestException, Damaged
            See `Connection.get_json`, `Connection.get_file`.
        """
        try:
            self._api.download_reference_aligned_image_channel_volumes(experiment, str(path))
        except (IndexError, KeyError, TypeError) as error:
            raise Unusable("the service has no volumes of this experiment") from error

    def download_annotation(self, path: Path) -> None:
        """Try once to fetch the annotation of 2017 and read it."""
        self._api.download_annotation_volume(self._api.CCF_2017, RESOLUTION_UM, str(path))

    def download_template(self, path: Path) -> None:
        """Try once to fetch the average template and read it."""
        self._api.download_template_volume(RESOLUTION_UM, str(path))

    def download_structures(self, path: Path) -> None:
        """Try once to fetch the structure tree; written as the SDK writes it."""
        with TemporaryDirectory() as folder:
            cache = _Connectivity(Path(folder), self._api, self._ontologies)
            cache.get_structure_tree(file_name=str(path))


def _by_id(records: pd.DataFrame) -> pd.DataFrame:
    """Index the experiments by their id; records without one of their own are left out aloud."""
    ids = whole_numbers(records["id"])
    wrong, again = ids.isna(), ids.duplicated() & ids.notna()
    if wrong.all():
        raise InputError("the list of experiments is not as documented: no id is a whole number")
    for what, rows in (("without a whole number as id", wrong), ("of an id listed before", again)):
        if rows.any():
            first = records["id"][rows].iloc[0]
            count = int(rows.sum())
            log.warning(f"{count} experiments {what} are left out, such as {first}")
    good = ~(wrong | again)
    # JSON may hold halves of characters, which no file can.
    records = records.map(
        lambda v: v.encode("utf-8", "replace").decode() if isinstance(v, str) else v
    )
    table = records[good].drop(columns="id")
    return table.set_index(pd.Index(ids[good].astype("int64"), name="id"))
